"""The host's side of an enclave: its ecalls as Python methods.

    vault = Enclave(program, transport)
    digest = vault.make_secret("1234")

A method's ``steps`` makes the same call in steps, for several at a time:

    interleave(one.count.steps(1000), two.count.steps(1000))

The methods come from the EDL file. Arguments are checked before anything runs, then written to
plain host memory, the *arena*, where the enclave fetches them: whoever controls the host reads them
there. One arena serves ecalls and ocalls, because both sides copy everything out of it at once.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any, NoReturn, Protocol, TypeVar, cast

from tee_sim.errors import EcallFailed, EnclaveLost, Fault, UsageError
from tee_sim.hypervisor.calls import finish
from tee_sim.hypervisor.guest import Result
from tee_sim.hypervisor.honest import Quoting
from tee_sim.sdk.codegen import needs_struct
from tee_sim.sdk.convert import Plan
from tee_sim.sdk.edl import Function, Interface
from tee_sim.sdk.results import (
    ABORTED,
    MEANING,
    OE_FAILURE,
    OE_NOT_FOUND,
    OE_OK,
    OE_REENTRANT_ECALL,
    name_of,
)
from tee_sim.sdk.services import Services
from tee_sim.sdk.services import ocalls as runtime_ocalls
from tee_sim.sdk.values import record

OCALL_RETURN = 2**64 - 1
"""RDI at an entry: no new ecall, the ocall is done. RSI is its result."""

SETTLE = 0.1
"""Seconds after which every signal has been heard by everybody."""

COMMAND_EXCEPTION = 2**64 - 2
"""RDI at an entry: the thread was interrupted by an exception that the host cannot handle."""

EXIT_ECALL_DONE, EXIT_OCALL, EXIT_NESTED, EXIT_RESUME = 0, 1, 2, 3
"""RDI at an exit; see ``guest/include/tee/layout.h``."""

Callback = Callable[..., Any]
T = TypeVar("T")
Steps = Generator[None, None, T]
Entering = Callable[[int, int, int], Result | Steps[Result]]
"""How to enter a thread: at once, or in steps."""


class Transport(Protocol):
    """What a platform offers so that its enclaves can be called.

    Attributes:
        arena: untrusted memory that the host lends for arguments: address and size in bytes. The
            transport passes it in R8 and R9 at each entry.
        heap: untrusted memory that the enclave gets from `oe_host_malloc`, likewise.
        quoting: the host's quoting service, if it has one.
        lock: held for a whole ecall; one Python thread at a time, the others wait.
    """

    arena: tuple[int, int]
    heap: tuple[int, int]

    @property
    def quoting(self) -> Quoting | None: ...  # noqa: D102  an attribute that may be read-only

    lock: AbstractContextManager[object]

    def read(self, gva: int, size: int) -> bytes:
        """``size`` bytes of the host process's memory."""
        ...

    def write(self, gva: int, data: bytes) -> None:
        """Write the host process's memory."""
        ...

    def enter(self, thread: int, rdi: int, rsi: int) -> Result:
        """Enter by a thread's entry and run until it leaves: RDI, RSI and RDX there."""
        ...


class Enclave:
    """An enclave that runs: one method for each public ecall.

    A method returns what the C function returns. A pointer that is ``[out]`` is not passed but
    returned, as bytes: alone if the function returns nothing else, otherwise in a named tuple after
    ``result``. An `oe_result_t` is not returned: anything but OE_OK is raised as `EcallFailed`.
    What Python has for structures and other values, `tee_sim.sdk.values` says; ``types`` holds the
    classes of those that the EDL declares. A callback of an ocall with ``propagate_errno`` that
    raises `OSError` makes it fail with that errno.

    After `EcallFailed`, or an exception from an ocall's callback, the enclave has finished its call
    and can be called again. After a fault, an abort or an exhausted budget it is lost: every call
    raises `EnclaveLost`.

    Args:
        interface: what it declares.
        transport: how it is reached.
        name: for messages.
        ocalls: name -> callback, for functions in the EDL's untrusted section.
        thread: number of the thread that its calls enter by.
        services: what the host does for the runtime; None for a host process of its own. It prints
            what the enclave prints; ``enclave.services.stdout = io.StringIO()`` keeps that instead.
    """

    def __init__(
        self,
        interface: Interface,
        transport: Transport,
        *,
        name: str = "enclave",
        ocalls: Mapping[str, Callback] | None = None,
        thread: int = 0,
        services: Services | None = None,
    ) -> None:
        self.interface = interface
        self.name = name
        self._transport = transport
        self._thread = thread
        self._lost: str | None = None
        self.services = services or Services(transport)
        declared = (*interface.untrusted, *runtime_ocalls())
        self._ocalls = {function.index: (function, Plan(function)) for function in declared}
        served, names = self.services.callbacks(), {function.name for function in declared}
        self._callbacks: dict[str, Callback] = {n: served[n] for n in served if n in names}
        named = {ctype.name.partition(" ")[2]: ctype for ctype in interface.types}
        self.types = SimpleNamespace(**{key: record(named[key]) for key in named if key})
        for ocall, callback in (ocalls or {}).items():
            self.on_ocall(ocall, callback)
        for function in interface.trusted:
            if hasattr(type(self), function.name) or function.name in self.__dict__:
                name = function.name
                raise UsageError(f"the ecall '{name}' has the name of an Enclave attribute")
            setattr(self, function.name, _method(self, function))

    def __repr__(self) -> str:
        ecalls = ", ".join(function.name for function in self.interface.trusted)
        return f"<enclave {self.name}{' (lost)' if self.lost else ''}: {ecalls}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__") or "interface" not in self.__dict__:
            raise AttributeError(name)
        declared = ", ".join(function.name for function in self.interface.trusted)
        raise AttributeError(f"{self.name} has no ecall '{name}': its EDL declares {declared}")

    @property
    def lost(self) -> str | None:
        """Why the enclave cannot be called any more, or None while it can."""
        return self._lost

    def on_ocall(self, name: str, callback: Callback) -> None:
        """Register what the host does when the enclave calls out.

        The callback gets the scalars and ``[in]`` buffers, and returns by the same rule as an
        ecall: the value, the ``[out]`` bytes, or a tuple of both.

        Raises:
            UsageError: the EDL declares no such ocall.
        """
        if name not in (function.name for function, _ in self._ocalls.values()):
            known = ", ".join(function.name for function in self.interface.untrusted) or "none"
            raise UsageError(f"{self.name} makes no ocall '{name}': its EDL declares {known}")
        self._callbacks[name] = callback

    def _require_alive(self) -> None:
        if self.lost is not None:
            raise EnclaveLost(f"{self.name} cannot be called any more: {self.lost}")

    def _calling(self, function: Function, struct_gva: int, enter: Entering) -> Steps[None]:
        """One ecall from entry to end, with the ocalls in between.

        Raises:
            EcallFailed: the enclave refused, or the function returned an error.
            EnclaveLost: it died.
        """
        command, argument = function.index, struct_gva
        failure: BaseException | None = None
        try:
            while True:
                left = enter(self._thread, command, argument)
                reason, value, where = left if isinstance(left, tuple) else (yield from left)
                if reason != EXIT_OCALL:
                    break
                argument, failure = self._ocall(value, where, failure)
                command = OCALL_RETURN
        except UsageError:
            raise
        except Fault as fault:
            self._lost = f"{function.name}() ended in {fault}"
            raise EnclaveLost(f"{self.name} died: {self._lost}", fault=fault) from fault
        except BaseException as error:
            self._lost = f"{function.name}() ended in {type(error).__name__}: {error}"
            raise
        if failure is not None:
            raise failure
        if reason != EXIT_ECALL_DONE or value != OE_OK:
            self._refused(function, reason, value)

    def _refused(self, function: Function, reason: int, value: int) -> NoReturn:
        if reason == EXIT_NESTED:
            why = "this thread was interrupted inside, and must be resumed first"
            self._failed(function, OE_REENTRANT_ECALL, why)
        code = value & 0xFFFFFFFF
        if reason != EXIT_ECALL_DONE or code in ABORTED:
            self._lost = f"the program ended itself in {function.name}() ({name_of(code)})"
            if reason != EXIT_ECALL_DONE:
                self._lost = f"{function.name}() left with the unknown reason {reason:#x}"
            raise EnclaveLost(f"{self.name} is lost: {self._lost}")
        self._failed(function, code)

    def _failed(self, function: Function, code: int, why: str = "") -> NoReturn:
        name = name_of(code)
        why = why or MEANING.get(name, "see openenclave's result.h")
        raise EcallFailed(function.name, name, code, why)

    def _ocall(
        self, index: int, struct_gva: int, failure: BaseException | None
    ) -> tuple[int, BaseException | None]:
        """Serve one ocall: the result for the enclave, and the exception to raise once it is out.

        The enclave is always told how it went, so that it can finish its call and stays usable.
        After one failure the further ocalls of the same ecall fail without being tried.
        """
        if failure is not None:
            return OE_FAILURE, failure
        if index not in self._ocalls:
            what = f"{self.name} made ocall {index}: its EDL declares none"
            return OE_NOT_FOUND, UsageError(what)
        function, plan = self._ocalls[index]
        callback = self._callbacks.get(function.name)
        if callback is None:
            return OE_NOT_FOUND, UsageError(
                f"{self.name} calls out to '{function.name}', which has no callback: register one "
                f"with on_ocall('{function.name}', function). Its EDL: {function}"
            )
        try:
            if not needs_struct(function):
                callback()
                return OE_OK, None
            arena = self._transport.arena
            call = plan.incoming(struct_gva, arena, self._transport.read)
            try:
                returned = callback(*(call.values[param.name] for param in plan.given))
                writes = plan.answer(returned, call, arena, self._transport.read)
            except OSError as error:
                if not function.propagates_errno:
                    raise
                # As C libraries do it: -1, or 0 where a handle is expected.
                failed = -1 if function.returns.kind == "int" else 0
                writes = plan.answer_error(struct_gva, failed, error.errno or errno.EIO)
            for gva, content in writes:
                self._transport.write(gva, content)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                # The watchdog has heard of it too. It shall find no run to end: the enclave is to
                # be told that its ocall failed.
                time.sleep(SETTLE)
            error.add_note(f"raised while {self.name} waited for its ocall {function}")
            return OE_FAILURE, error
        return OE_OK, None


def _method(enclave: Enclave, function: Function) -> Callable[..., Any]:
    """The Python method of one ecall."""
    plan, run, transport = Plan(function), enclave._calling, enclave._transport
    returns_result, has_struct = function.returns.kind == "result", needs_struct(function)

    def making(enter: Entering, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Steps[Any]:
        if not has_struct and not args and not kwargs:
            enclave._require_alive()
            yield from run(function, 0, enter)
            return None
        values = plan.bind(args, kwargs)
        enclave._require_alive()
        arena = transport.arena
        blob, addresses = plan.pack(values, arena)
        transport.write(arena[0], blob)
        yield from run(function, arena[0], enter)
        if returns_result:
            code = plan.retval(arena[0], transport.read)
            if code != OE_OK:
                enclave._failed(function, code)
        return plan.results(values, arena, addresses, transport.read)

    def at_once(*args: Any, **kwargs: Any) -> Any:
        with transport.lock:
            return finish(making(transport.enter, args, kwargs))

    def steps(*args: Any, **kwargs: Any) -> Steps[Any]:
        return making(cast(Any, transport).steps, args, kwargs)

    method: Any = at_once
    method.steps = steps
    method.__name__ = method.__qualname__ = function.name
    about = f"An ecall of the enclave {enclave.name}, as its EDL declares it."
    method.__doc__ = f"{function}\n\n{about}"
    method.__signature__ = plan.signature
    return cast(Callback, method)
