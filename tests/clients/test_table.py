"""`docs/clients.md` is that of the table: `make clients` writes it."""

from tests.clients import table, webui
from tests.clients.live import INSPECTOR_IMAGES, INSPECTORS, LIVE_CLIENTS


def test_the_page_has_all_clients_and_requests_of_the_table() -> None:
    lines = table.PAGE.read_text().splitlines()

    assert [row for row in (*table.configurations(), *table.requests(), *webui.rows()) if row not in lines] == []
    names = {client["name"] for client in table.TABLE["client"]}
    assert {request["client"] for request in table.TABLE["request"]} <= names


def test_the_page_says_of_each_live_client_that_it_works() -> None:
    lines = table.PAGE.read_text().splitlines()

    rows = [line for line in lines if line.endswith("| works |")]
    images = {client.name: len(client.sizes) for client in LIVE_CLIENTS} | dict.fromkeys(INSPECTORS, INSPECTOR_IMAGES)
    beginnings = [(f"| {name} | ", f" | {count} | works |") for name, count in images.items()]
    assert [
        head for head, tail in beginnings if not any(row.startswith(head) and row.endswith(tail) for row in rows)
    ] == []
