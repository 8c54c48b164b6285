"""The models of a worker: which of them have their weights on its device, and which in RAM.

All that fit may stay. Before another is loaded, those that were not used for the longest time leave, until it fits.
Those that leave may stay in RAM, within the setting `model_ram`, for a fast return.
"""

import logging
import time
from collections.abc import Iterable, Mapping

from core.catalog import Model
from core.generation import Generator, Memory
from core.generation_errors import GenerationError, ModelUnavailable, OutOfMemory
from core.model_files.problems import explain_unusable
from core.self_test import SelfTest
from core.settings import Settings
from core.workers import ModelState, WorkerDevice
from worker import generators
from worker.generation.memory import resident_bytes, total_bytes, total_ram
from worker.generation.self_test import run_self_test

log = logging.getLogger(__name__)


class Models:
    """The generators of a worker. Used only while the device is held."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._generators: dict[str, Generator] = {}
        self._entries: dict[str, Model] = {}
        """By id, the entry of the catalogue from which the generator was made."""
        self._on_device: dict[str, Memory] = {}
        """By id, what each loaded model takes; the one that was used last comes last."""
        self._in_ram: dict[str, Memory] = {}
        """The same of models that have left the device but not the memory of this process."""
        self._states: dict[str, ModelState] = {}
        """By id, what others are told: a model that is being loaded, or cannot be, and the results of self-tests."""
        self._memory = Memory()
        """Of the device, once a model is loaded."""

    def get(self, model: Model) -> Generator:
        """The model's generator, its weights on the device. Raises ModelUnavailable, OutOfMemory, DeviceFailed."""
        if self._entries.get(model.id, model) != model:  # the catalogue has changed
            self._discard(model.id)
            del self._generators[model.id], self._entries[model.id]
        generator = self._generators.get(model.id)
        if generator is None:
            generator = self._generators[model.id] = generators.build(model, self._settings)
            self._entries[model.id] = model
        if self._on_device.pop(model.id, None) is None:
            memory = self._load(model, generator)
        else:  # it may have grown since, by LoRAs
            memory = generator.memory()
            self._make_room(memory, self._settings.model_memory or self._memory.capacity)
        self._on_device[model.id] = memory
        return generator

    def check(self, models: Iterable[Model]) -> None:
        """Note which of the models cannot be loaded, as far as that is known without loading them. Any thread may."""
        for model in models:
            if (reason := self._obstacle(model)) is not None:
                log.warning("model %s is not usable: %s", model.id, reason)
                self._states[model.id] = ModelState(state="unusable", reason=reason)
            else:
                state = self._states.get(model.id)
                if state is not None and state["state"] == "unusable":
                    del self._states[model.id]

    def _obstacle(self, model: Model) -> str | None:
        """Why a model cannot be loaded here. Its files come first, as the libraries of its generator are large."""
        if (reason := explain_unusable(model, self._settings.models_dir)) is not None:
            return f"Model {model.id}: {reason}"
        try:
            generators.build(model, self._settings).check()
        except GenerationError as error:
            return error.message
        return None

    def self_test(self, model_id: str) -> SelfTest | None:
        """The result of the model's self-test; None: there was none."""
        state = self._states.get(model_id)
        return None if state is None else state.get("self_test")

    def is_loaded(self, model: Model) -> bool:
        """Whether `get` finds the model on the device."""
        return model.id in self._on_device and self._entries[model.id] == model

    def unload_others(self, model_id: str) -> bool:
        """Free the device of all models but one. Returns whether there were any."""
        names = [name for name, memory in self._on_device.items() if name != model_id and memory.weights]
        for name in names:
            self._leave_device(name)
        return bool(names)

    def unload_all(self) -> None:
        """Free the memory of all models."""
        for name in [*self._on_device, *self._in_ram]:
            self._discard(name)

    @property
    def resident(self) -> list[str]:
        """The ids of the models whose weights take memory on the device. Any thread may ask: it reads a copy."""
        return [name for name, memory in dict(self._on_device).items() if memory.weights]

    def device(self) -> WorkerDevice:
        """The device and the loaded models, for operators. Any thread may ask: it reads a copy."""
        memories = dict(self._on_device)
        memory = self._memory
        return WorkerDevice(
            device=memory.device,
            loaded_models=list(memories),
            resident_bytes=resident_bytes(),
            device_bytes=None if memory.device is None else total_bytes(memories.values()),
            device_capacity=self._settings.model_memory or memory.capacity,
            models=self._reports(memories),
        )

    def _reports(self, memories: Mapping[str, Memory]) -> dict[str, ModelState]:
        """What others are told of each model. One that has left the device has no entry, except if it is unusable."""
        reports: dict[str, ModelState] = {}
        for name, state in dict(self._states).items():
            if name in memories:
                reports[name] = {**state, "state": "loaded", "bytes": memories[name].weights}
            elif state["state"] != "loaded":
                reports[name] = state
        return reports

    def _load(self, model: Model, generator: Generator) -> Memory:
        """Load a model, and test it if the catalogue says so. Returns what it takes."""
        test = self.self_test(model.id) if model.id in self._in_ram else None
        self._states[model.id] = ModelState(state="loading")
        try:
            memory = self._load_beside_others(model.id, generator)
            state = ModelState(state="loaded")
            if model.self_test:
                state["self_test"] = test or self._run_self_test(model, generator)
        except ModelUnavailable as error:
            self._states[model.id] = ModelState(state="unusable", reason=error.message)
            raise
        except BaseException:
            self._states.pop(model.id, None)  # a check may have removed it
            raise
        self._states[model.id] = state
        return memory

    def _run_self_test(self, model: Model, generator: Generator) -> SelfTest:
        try:
            return run_self_test(model, generator)
        except BaseException:
            generator.unload()  # the next job loads it again; until then, nothing would count its memory
            raise

    def _load_beside_others(self, model_id: str, generator: Generator) -> Memory:
        """Load a model beside those that leave it room. Returns what it takes."""
        began = time.monotonic()
        source = "RAM" if self._in_ram.pop(model_id, None) is not None else "its files"
        estimate = generator.memory()
        capacity = self._settings.model_memory or estimate.capacity
        self._make_room(estimate, capacity)
        if self._on_device and not _fits(generator):
            generator.unload()  # what is there of it
            self.unload_others(model_id)
            log.warning("model %s did not fit beside other models; they have left", model_id)
        try:
            generator.load()
        except BaseException:
            generator.unload()  # what is there of it
            raise
        self._memory = memory = generator.memory()
        self._make_room(memory, capacity)
        log.info(
            "model %s is loaded: %d MB in %.1f s from %s; models on the device: %d",
            model_id, memory.weights >> 20, time.monotonic() - began, source, len(self._on_device) + 1,
        )  # fmt: skip
        return memory

    def _make_room(self, memory: Memory, capacity: int | None) -> None:
        """Have models leave the device until the others and one with this memory fit."""
        while capacity is not None and self._on_device and total_bytes([*self._on_device.values(), memory]) > capacity:
            self._leave_device(next(iter(self._on_device)))

    def _leave_device(self, model_id: str) -> None:
        """Move a model to RAM, if the setting has room for it there; else free its memory."""
        memory, budget = self._on_device[model_id], self._settings.model_ram
        if not memory.weights or total_ram([memory]) > budget:
            self._discard(model_id)
            return
        while total_ram([*self._in_ram.values(), memory]) > budget:
            self._discard(next(iter(self._in_ram)))
        if not self._generators[model_id].move_to_ram():
            self._discard(model_id)
            return
        self._in_ram[model_id] = self._on_device.pop(model_id)
        log.info("model %s has left the device for RAM: %d MB", model_id, memory.weights >> 20)

    def _discard(self, model_id: str) -> None:
        """Free a model's memory, wherever it is."""
        place = "RAM" if model_id in self._in_ram else "the device"
        memory = self._on_device.pop(model_id, None) or self._in_ram.pop(model_id, None) or Memory()
        self._generators[model_id].unload()
        log.info("model %s has left %s: %d MB", model_id, place, memory.weights >> 20)


def _fits(generator: Generator) -> bool:
    """Load a model. Returns whether it fits; the error is gone then, whose frames would keep the memory in use."""
    try:
        generator.load()
    except OutOfMemory:
        return False
    return True
