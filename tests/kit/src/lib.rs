//! Plugins that try to break the host, each in a few lines of text under `wat/`, for the tests of every floor.
//!
//! A file under `wat/routing` or a sibling named after a kind holds what is hostile about a core module; what it leaves
//! out is added from `src/base`, where every function does right. A file under `wat/component` is a whole
//! component. The build makes [`Hostile`] of the files: a test that matches on it without a wildcard does not
//! compile while one of them has no expectation.
//!
//! ```
//! let component = mesh_hostile::Hostile::LoopInDecide.component();
//! assert!(component.starts_with(b"\0asm"));
//! ```

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

include!(concat!(env!("OUT_DIR"), "/hostile.rs"));

struct Row {
    plugin: Hostile,
    name: &'static str,
    shape: Shape,
    text: &'static str,
}

/// What a plugin of the kit is a variation of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A routing policy that answers row 0.
    Routing,
    /// A QoS policy that answers class 0, and shares that are fair.
    Qos,
    /// A topology policy to which every candidate is as bad.
    Topology,
    /// An admission policy that lets nobody in.
    Admission,
    /// A carry policy that refuses everything.
    Carry,
    /// A handler that answers commands with nothing.
    Handler,
    /// A component of its own.
    Component,
}

impl Shape {
    /// The WIT package and the base of its modules.
    fn base(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Shape::Routing => Some(("routing", include_str!("../../../wit/routing/routing.wit"), ROUTING)),
            Shape::Qos => Some(("qos", include_str!("../../../wit/qos/qos.wit"), QOS)),
            Shape::Topology => {
                Some(("topology", include_str!("../../../wit/topology/topology.wit"), TOPOLOGY))
            }
            Shape::Admission => {
                Some(("admission", include_str!("../../../wit/admission/admission.wit"), ADMISSION))
            }
            Shape::Carry => Some(("carry", include_str!("../../../wit/carry/carry.wit"), CARRY)),
            Shape::Handler => Some(("handler", include_str!("../../../wit/handler/handler.wit"), HANDLER)),
            Shape::Component => None,
        }
    }
}

const TYPES: &str = include_str!("../../../wit/types/types.wit");
const ROUTING: &str = include_str!("base/routing.wat");
const QOS: &str = include_str!("base/qos.wat");
const TOPOLOGY: &str = include_str!("base/topology.wat");
const ADMISSION: &str = include_str!("base/admission.wat");
const CARRY: &str = include_str!("base/carry.wat");
const HANDLER: &str = include_str!("base/handler.wat");

impl Hostile {
    /// Returns all of them.
    pub fn all() -> impl Iterator<Item = Hostile> {
        ROWS.iter().map(|row| row.plugin)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Returns the name of its file.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns what it is a variation of.
    pub fn shape(self) -> Shape {
        self.row().shape
    }

    /// Returns the component, made from its text.
    ///
    /// # Panics
    /// When the text is not what its directory says.
    pub fn component(self) -> Vec<u8> {
        let Row { name, shape, text, .. } = self.row();
        encode(*shape, text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Makes a component of the text of one module, as the files of the kit have it; fields that are left out do right.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn encode(shape: Shape, text: &str) -> Result<Vec<u8>, String> {
    let Some((package, wit, base)) = shape.base() else {
        let component = wat::parse_str(text).map_err(|error| error.to_string())?;
        return Ok(with_section(component, EMPTY_COMPONENT, || encode(Shape::Routing, "")));
    };
    let module = format!("(module\n{}\n{text})", missing(base, text));
    let mut module = wat::parse_str(&module).map_err(|error| error.to_string())?;
    with_world(&mut module, package, wit)?;
    ComponentEncoder::default()
        .validate(false)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))
}

/// A section with an empty component, which stands for the routing policy that does right.
const EMPTY_COMPONENT: &[u8] = b"\x04\x08\0asm\x0d\0\x01\0";
/// A section with an empty module, which stands for one that a test brings.
const EMPTY_MODULE: &[u8] = b"\x01\x08\0asm\x01\0\0\0";

/// Returns a routing policy that does right, in a component that instantiates this core module as well.
///
/// # Panics
/// Never for bytes of any kind: they are put in as they are.
pub fn around(module: &[u8]) -> Vec<u8> {
    let component =
        encode(Shape::Component, include_str!("base/around.wat")).expect("the base is a component");
    with_section(component, EMPTY_MODULE, || Ok(module.to_vec()))
}

/// Puts what `make` returns into the section in place of what is empty there, if there is such a section.
fn with_section(
    mut component: Vec<u8>,
    empty: &[u8],
    make: impl FnOnce() -> Result<Vec<u8>, String>,
) -> Vec<u8> {
    let found = component.windows(empty.len()).position(|bytes| bytes == empty);
    if let Some(at) = found {
        let content = make().expect("the base is a component");
        let mut section = vec![empty[0]];
        let mut len = content.len();
        while len >= 0x80 {
            section.push(0x80 | (len & 0x7f) as u8);
            len >>= 7;
        }
        section.push(len as u8);
        section.extend(content);
        component.splice(at..at + empty.len(), section);
    }
    component
}

/// Says in the module which world it implements, as a compiler's bindings do.
fn with_world(module: &mut Vec<u8>, package: &str, wit: &str) -> Result<(), String> {
    let mut resolve = Resolve::default();
    resolve.push_str("types.wit", TYPES).map_err(|error| format!("{error:#}"))?;
    let id = resolve.push_str(format!("{package}.wit"), wit).map_err(|error| format!("{error:#}"))?;
    let world = resolve.select_world(&[id], Some(package)).map_err(|error| format!("{error:#}"))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8, false)
        .map_err(|error| format!("{error:#}"))
}

/// The fields of `base`, which an empty line parts, that `text` does not bring itself. A field's first line ends with
/// the words by which it is recognised, behind `;; for`.
fn missing(base: &str, text: &str) -> String {
    let is_missing = |field: &&str| {
        let words =
            field.lines().next().and_then(|line| line.split_once(";; for ")).map(|(_, words)| words.trim());
        words.is_none_or(|words| !text.contains(words))
    };
    base.split("\n\n").filter(is_missing).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::Hostile;

    #[test]
    fn every_file_is_a_component() {
        assert!(Hostile::all().count() >= 40);
        for plugin in Hostile::all() {
            assert!(plugin.component().starts_with(b"\0asm"), "{}", plugin.name());
        }
    }
}
