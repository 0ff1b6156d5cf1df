//! The guard around each call into a guest: its limits, and what becomes of a call that did not return.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use rust_proxy_stream::chain::printable;
use rust_proxy_stream::stage::{Fault, FaultKind, StageError};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};
use wasmtime::component::ResourceTableError;
use wasmtime::{
    Engine, GcHeapOutOfMemory, PoolConcurrencyLimitError, Store, ThrownException, Trap, UpdateDeadline,
    WasmBacktrace,
};

use crate::instance::RESOURCES_MAX;
use crate::limits::{CpuSpent, Limits, MemoryLimiter, MemorySpent, Meter, OutputSpent};

/// How many handles of resources a guest may have, its own and the host's: each takes memory of the host that no
/// limit counts. Rust's guests have a handful, interpreters some hundred.
const HANDLES_MAX: usize = 10_000;

/// What a store must keep to be guarded.
pub(crate) trait Metered: Send + 'static {
    fn memory(&mut self) -> &mut MemoryLimiter;
    fn meter(&self) -> &Meter;

    /// Ends what the guest has open, once a call did not return.
    fn close(&mut self);
}

/// The store, and the guard around each call into it.
pub(crate) struct Caller<T: 'static> {
    store: Store<T>,
    meter: Meter,
    limits: Limits,
    /// Set while a call runs, and for good where it did not return.
    broken: bool,
}

/// Ends a guest that said in its own words that it failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failed(pub(crate) String);

impl<T: Metered> Caller<T> {
    pub(crate) fn new(engine: &Engine, data: T, limits: Limits) -> Self {
        let meter = data.meter().clone();
        let mut store = Store::new(engine, data);
        store.limiter(|data| data.memory());
        // Counts what a component passes to the host, its answers too.
        store.set_hostcall_fuel(usize::try_from(limits.output).unwrap_or(usize::MAX));
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_callback(|store| {
            // One that was only just called goes on: yielding, it would wait for the turns of all others.
            Ok(if store.data().meter().tick()? {
                UpdateDeadline::Yield(1)
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        Self { store, meter, limits, broken: false }
    }

    pub(crate) fn store(&mut self) -> &mut Store<T> {
        &mut self.store
    }

    pub(crate) fn data(&self) -> &T {
        self.store.data()
    }

    /// Calls into the guest within its limits.
    ///
    /// # Cancellation
    /// A call that is dropped leaves the instance broken.
    pub(crate) async fn call<R>(
        &mut self,
        call: impl AsyncFnOnce(&mut Store<T>) -> wasmtime::Result<R>,
    ) -> Result<R, StageError> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(Fault::new(FaultKind::Host, "an earlier call did not return").into());
        }
        self.store.set_epoch_deadline(1);
        let began = Instant::now();
        let answer = {
            // Pinned at once: by value it would be copied into each future around it, and these are kilobytes.
            let call = pin!(call(&mut self.store));
            let call = pin!(self.meter.measure(began, self.limits.cpu, call));
            until(began + self.limits.wall, call).await
        };
        let error = match answer {
            Some(Ok(answer)) => {
                self.broken = false;
                return Ok(answer);
            }
            Some(Err(error)) => self.error(&error),
            None => Fault::new(FaultKind::Wall, format!("more than {:?}", self.limits.wall)).into(),
        };
        // The guest is not called again, but what is left of it may live on until the exchange ends.
        self.store.data_mut().close();
        Err(error)
    }

    fn error(&self, error: &wasmtime::Error) -> StageError {
        match error.downcast_ref::<Failed>() {
            Some(Failed(text)) => StageError::Failed(text.clone()),
            None => self.fault(error).into(),
        }
    }

    fn fault(&self, error: &wasmtime::Error) -> Fault {
        let limits = &self.limits;
        if error.is::<CpuSpent>() {
            return Fault::new(FaultKind::Cpu, format!("more than {:?}", limits.cpu));
        }
        // The heap of a garbage collector is memory too; wasmtime keeps the limiter's answer to itself there.
        if error.is::<MemorySpent>() || error.is::<GcHeapOutOfMemory<()>>() {
            return Fault::new(FaultKind::Memory, format!("more than {} bytes", limits.memory));
        }
        // wasmtime has no type for what exceeds its fuel for host calls.
        if error.is::<OutputSpent>()
            || error.root_cause().to_string().contains("fuel allocated for hostcalls")
        {
            return Fault::new(FaultKind::Output, format!("more than {} bytes", limits.output));
        }
        if let Some(ResourceTableError::Full) = error.downcast_ref() {
            let detail =
                format!("more than {RESOURCES_MAX} of the host's resources open (streams, clocks, headers)");
            return Fault::new(FaultKind::Contract, detail);
        }
        let kind = match error.downcast_ref::<Trap>() {
            Some(_) => FaultKind::Trap,
            None if error.is::<ThrownException>() => FaultKind::Trap,
            None if error.is::<PoolConcurrencyLimitError>() => FaultKind::Host,
            None => FaultKind::Contract,
        };
        Fault::new(kind, told(error))
    }
}

/// What a call answers before `deadline`. Most calls do not wait, and need no timer.
async fn until<T>(deadline: Instant, mut call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut timer = pin!(None);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = call.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        if timer.is_none() {
            // Looked at however much of the task's budget the guest has used.
            timer.set(Some(unconstrained(sleep_until(deadline))));
        }
        timer.as_mut().as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx).map(|()| None))
    })
    .await
}

/// An error in one line. A guest's backtrace is long and may be cut off, so its cause comes first.
fn told(error: &wasmtime::Error) -> String {
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    if error.is::<WasmBacktrace>() {
        causes.reverse();
    }
    let text = causes.join(": ");
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}
