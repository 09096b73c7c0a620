"""Every error this project raises on purpose: one tree, so that a screen can show any of them.

AtelierError
├── InvalidRequest            something the caller sent has to change
│   ├── DatasetRejected       a picture, caption or archive that can't be trained on
│   ├── BaseModelRejected     a folder under assets/base_models that can't be used
│   └── LoraRejected          a LoRA file that is damaged or made for another base model
├── NotFound                  a run, dataset, LoRA or picture that isn't in storage
├── Forbidden                 somebody may not do this from where they are
├── LimitReached              somebody, or everybody together, has used up what may be used for now
├── ServiceError              something we depend on said no or nothing
│   ├── StorageError          object storage
│   ├── RunPodError           RunPod's API, or the local gateway
│   ├── HubError              the Hugging Face Hub
│   └── MachineError          the local machine: its S3 server, gateway or workers
├── EngineError               training or generation broke inside the engine
│   ├── OutOfMemory           the GPU or the computer ran out of memory
│   └── EngineDied            the engine's process ended without a word
├── WeightsError              a base model can't be downloaded, read or stored
└── Cancelled                 somebody pressed Cancel
"""


class AtelierError(Exception):
    """An error for people: `message` says what happened and to which thing, `hint` what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidRequest(AtelierError): ...


class DatasetRejected(InvalidRequest): ...


class BaseModelRejected(InvalidRequest): ...


class LoraRejected(InvalidRequest): ...


class NotFound(AtelierError): ...


class Forbidden(AtelierError): ...


class LimitReached(AtelierError): ...


class ServiceError(AtelierError): ...


class StorageError(ServiceError): ...


class RunPodError(ServiceError): ...


class HubError(ServiceError): ...


class MachineError(ServiceError): ...


class EngineError(AtelierError): ...


class OutOfMemory(EngineError): ...


class EngineDied(EngineError): ...


class WeightsError(AtelierError): ...


class Cancelled(AtelierError): ...
