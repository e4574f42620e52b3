//! Between the generated exports and the traits; built for WebAssembly only. The only module that sees
//! generated code.
#![allow(missing_docs)]

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::{Refusal, Settings, Value};

mod admission_glue;
mod carry_glue;
mod handler_glue;
mod panic_note;
mod qos_glue;
mod routing_glue;
mod topology_glue;

pub mod routing {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/routing"],
        world: "mesh:routing/routing",
        pub_export_macro: true,
        export_macro_name: "__export",
        generate_all,
    });
}

pub mod qos {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/qos"],
        world: "mesh:qos/qos",
        pub_export_macro: true,
        export_macro_name: "__export",
        with: { "mesh:types/common@0.1.0": crate::glue::common },
    });
}

pub mod topology {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/topology"],
        world: "mesh:topology/topology",
        pub_export_macro: true,
        export_macro_name: "__export",
        with: { "mesh:types/common@0.1.0": crate::glue::common },
    });
}

pub mod admission {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/admission"],
        world: "mesh:admission/admission",
        pub_export_macro: true,
        export_macro_name: "__export",
        with: { "mesh:types/common@0.1.0": crate::glue::common },
    });
}

pub mod carry {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/carry"],
        world: "mesh:carry/carry",
        pub_export_macro: true,
        export_macro_name: "__export",
        with: { "mesh:types/common@0.1.0": crate::glue::common },
    });
}

pub mod handler {
    wit_bindgen::generate!({
        path: ["../wit/types", "../wit/handler"],
        world: "mesh:handler/handler",
        pub_export_macro: true,
        export_macro_name: "__export",
        with: { "mesh:types/common@0.1.0": crate::glue::common },
        generate_all,
    });
}

pub use routing::mesh::types::common;

/// The one instance of a plugin. The component model lets no call enter while another runs.
pub struct Cell<P>(RefCell<Option<P>>);

// SAFETY: wasm32-unknown-unknown without the threads proposal has one thread.
unsafe impl<P> Sync for Cell<P> {}

impl<P: Default> Cell<P> {
    #[expect(clippy::new_without_default, reason = "const")]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    #[inline]
    pub fn with<R>(&self, call: impl FnOnce(&mut P) -> R) -> R {
        call(self.0.borrow_mut().get_or_insert_with(first))
    }
}

#[cold]
fn first<P: Default>() -> P {
    panic_note::install();
    P::default()
}

/// A plugin that has a [`Cell`]; implemented by the macros.
pub trait Hosted: Default + 'static {
    fn cell() -> &'static Cell<Self>;
}

/// Implements the generated traits for a plugin.
pub struct Export<P>(PhantomData<P>);

#[doc(hidden)]
#[macro_export]
macro_rules! __host {
    ($plugin:ident) => {
        impl $crate::glue::Hosted for $plugin {
            #[inline]
            fn cell() -> &'static $crate::glue::Cell<Self> {
                static CELL: $crate::glue::Cell<$plugin> = $crate::glue::Cell::new();
                &CELL
            }
        }
    };
}

fn settings(settings: Vec<common::Setting>) -> Settings {
    let value = |value| match value {
        common::Value::Flag(flag) => Value::Flag(flag),
        common::Value::Integer(integer) => Value::Integer(integer),
        common::Value::Number(number) => Value::Number(number),
        common::Value::Text(text) => Value::Text(text),
    };
    settings.into_iter().map(|setting| (setting.name, value(setting.value))).collect()
}

impl From<Refusal> for common::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSetting(name) => common::Refusal::UnknownSetting(name),
            Refusal::BadSetting(name) => common::Refusal::BadSetting(name),
            Refusal::UnknownVersion(version) => common::Refusal::UnknownVersion(version),
            Refusal::BadState => common::Refusal::BadState,
        }
    }
}

pub fn log(level: crate::log::Level, text: &str) {
    use handler::mesh::handler::log;
    let level = match level {
        crate::log::Level::Error => log::Level::Error,
        crate::log::Level::Warn => log::Level::Warn,
        crate::log::Level::Info => log::Level::Info,
        crate::log::Level::Debug => log::Level::Debug,
    };
    log::write(level, text);
}

pub fn kv_get(key: &str) -> Option<Vec<u8>> {
    handler::mesh::handler::kv::get(key)
}
