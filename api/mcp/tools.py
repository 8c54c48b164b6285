"""The table of tools. A tool is one entry here; its listing and its schemas are derived."""

from api.mcp.batches import BATCH_STATUS, GENERATE_BATCH
from api.mcp.images import EDIT_IMAGE, GENERATE_IMAGE, VARY_IMAGE
from api.mcp.jobs import CANCEL_JOB, JOB_STATUS
from api.mcp.models import LIST_MODELS
from api.mcp.tool import Tool

TOOLS: tuple[Tool, ...] = (
    GENERATE_IMAGE,
    EDIT_IMAGE,
    VARY_IMAGE,
    GENERATE_BATCH,
    JOB_STATUS,
    BATCH_STATUS,
    CANCEL_JOB,
    LIST_MODELS,
)
