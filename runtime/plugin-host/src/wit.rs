//! The generated bindings of every slot: the only module that sees generated code.
//!
//! Adapters call [`routing`], [`qos`], [`topology`], [`admission`], [`carry`] and [`handler`] and translate at once into
//! plain types; nothing that is generated leaves this crate.
#![allow(missing_docs)]

pub mod routing {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/routing"],
        world: "mesh:routing/routing",
        ownership: Borrowing { duplicate_if_necessary: false },
    });
    pub use exports::mesh::routing::policy::{Batch, Links, Ways};
}

pub mod qos {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/qos"],
        world: "mesh:qos/qos",
        ownership: Borrowing { duplicate_if_necessary: false },
        with: { "mesh:types/common@0.1.0": super::common },
    });
    pub use exports::mesh::qos::policy::{Batch, Load};
}

pub mod topology {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/topology"],
        world: "mesh:topology/topology",
        ownership: Borrowing { duplicate_if_necessary: false },
        with: { "mesh:types/common@0.1.0": super::common },
    });
    pub use exports::mesh::topology::policy::{Asker, Candidates};
}

pub mod admission {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/admission"],
        world: "mesh:admission/admission",
        ownership: Borrowing { duplicate_if_necessary: false },
        with: { "mesh:types/common@0.1.0": super::common },
    });
    pub use exports::mesh::admission::policy::{Approach, Health, Label, Place, Visitor};
}

pub mod carry {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/carry"],
        world: "mesh:carry/carry",
        ownership: Borrowing { duplicate_if_necessary: false },
        with: { "mesh:types/common@0.1.0": super::common },
    });
    pub use exports::mesh::carry::policy::{Batch, Room};
}

pub mod handler {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/handler"],
        world: "mesh:handler/handler",
        imports: { default: trappable },
        ownership: Borrowing { duplicate_if_necessary: false },
        with: { "mesh:types/common@0.1.0": super::common },
    });
    pub use exports::mesh::handler::events as calls;
    pub use mesh::handler::{kv, log};
}

pub use routing::mesh::types::common;
