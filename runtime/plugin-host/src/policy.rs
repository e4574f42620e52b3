//! Policies as instances: lends the columns to the guest, checks what comes back. A file for each slot, and here what
//! all of them share; the generated types differ and their shapes do not.

use std::time::Duration;

use crate::fault::Fault;
use crate::limits::{POLICY_CALL, STATE_BYTES};
use crate::load::{Kind, Loaded};

mod admission;
mod carry;
mod qos;
mod routing;
mod topology;

pub use admission::Admission;
pub(crate) use admission::is_small;
pub use carry::Carry;
pub use qos::Qos;
pub use routing::Routing;
pub use topology::Topology;

/// The deadline of a call that traffic waits for.
pub(crate) const HOT: Duration = POLICY_CALL;

/// Defines the instance of one kind, from its module of bindings and the name of its interface there.
macro_rules! instance {
    ($(#[$doc:meta])* $name:ident, $wit:ident, $interface:ident) => {
        $(#[$doc])*
        pub struct $name {
            engine: crate::engine::Engine,
            store: wasmtime::Store<crate::sandbox::Host>,
            world: $wit::$name,
        }

        impl $name {
            #[inline]
            fn call<R>(
                &mut self,
                limit: std::time::Duration,
                call: impl FnOnce(
                    &$wit::exports::mesh::$wit::policy::Guest,
                    &mut wasmtime::Store<crate::sandbox::Host>,
                ) -> wasmtime::Result<R>,
            ) -> Result<R, crate::fault::Fault> {
                let world = &self.world;
                let call = |store: &mut _| call(world.$interface(), store);
                crate::sandbox::call(&self.engine, &mut self.store, limit, call)
            }
        }

        impl crate::slot::Sealed for $name {}
    };
}
use instance;

/// Implements what the policies share; the generated types differ and their shapes do not.
macro_rules! life_cycle {
    () => {
        fn engine(&self) -> &crate::engine::Engine {
            &self.engine
        }

        fn host(&self) -> &crate::sandbox::Host {
            self.store.data()
        }

        fn host_mut(&mut self) -> &mut crate::sandbox::Host {
            self.store.data_mut()
        }

        fn state_version(&mut self) -> Result<u32, crate::fault::Fault> {
            self.call(crate::limits::SETUP, |guest, store| guest.call_state_version(store))
        }

        fn save(&mut self, limit: std::time::Duration) -> Result<Vec<u8>, crate::fault::Fault> {
            let state = self.call(limit, |guest, store| guest.call_save(store))?;
            crate::policy::check_state(state)
        }

        fn load(
            &mut self,
            limit: std::time::Duration,
            state: &crate::slot::State,
        ) -> Result<(), crate::slot::Refused> {
            use crate::slot::Refused;
            let answer = self
                .call(limit, |guest, store| guest.call_load_state(store, state.version, &state.bytes))
                .map_err(Refused::Fault)?;
            answer.map_err(|refusal: crate::wit::common::Refusal| Refused::Refusal(refusal.into()))
        }
    };
}
pub(crate) use life_cycle;

pub(crate) fn check_state(state: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match state.len() {
        len if len > STATE_BYTES => Err(Fault::StateTooLarge { len, max: STATE_BYTES }),
        _ => Ok(state),
    }
}

/// Implements, on top of that, how a policy starts: it is told nothing of its node, and answers nothing to its settings.
macro_rules! as_policy {
    ($kind:ident) => {
        type Identity = ();
        type Configured = ();
        const KIND: crate::load::Kind = crate::load::Kind::$kind;

        fn start(
            loaded: &crate::load::Loaded,
            (): &(),
            settings: &crate::settings::Settings,
            limit: std::time::Duration,
        ) -> Result<(Self, Result<(), crate::settings::Refusal>), crate::fault::Fault> {
            let crate::load::World::$kind(pre) = &loaded.0.world else {
                return Err(crate::policy::wrong_kind(loaded, Self::KIND));
            };
            let engine = loaded.0.engine.clone();
            let mut store = crate::sandbox::store(&engine, &loaded.0.revision);
            let world = crate::sandbox::call(&engine, &mut store, limit, |store| pre.instantiate(store))?;
            let mut guest = $kind { engine, store, world };
            let lent = crate::settings::lend(settings);
            let configured = guest.call(limit, |guest, store| guest.call_configure(store, &lent))?;
            Ok((guest, configured.map_err(crate::settings::Refusal::from)))
        }

        crate::policy::life_cycle!();
    };
}
use as_policy;

fn check_rows(asked: usize, got: usize) -> Result<(), Fault> {
    if asked == got { Ok(()) } else { Err(Fault::Rows { asked, got }) }
}

pub(crate) fn wrong_kind(loaded: &Loaded, wanted: Kind) -> Fault {
    Fault::Start { reason: format!("it is a {} plugin, and a {wanted} plugin is asked for", loaded.kind()) }
}
