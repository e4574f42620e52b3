//! The WIT that this host was built with, and the WIT of a component. Text only: compiles and runs nothing.

use wit_component::{DecodedWasm, WitPrinter};

use crate::inspect::{Inspection, Needs, inspect};
use crate::limits;
use crate::load::Kind;
use crate::manifest::is_newer;
use crate::settings::clip;

/// The text of one WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitPackage {
    /// Its name with its version, such as `mesh:routing@0.1.0`.
    pub name: &'static str,
    /// The name of its file, such as `routing.wit`.
    pub file: &'static str,
    /// The file.
    pub text: &'static str,
}

macro_rules! package {
    ($name:literal) => {
        WitPackage {
            name: concat!("mesh:", $name, "@0.1.0"),
            file: concat!($name, ".wit"),
            text: include_str!(concat!("../../../wit/", $name, "/", $name, ".wit")),
        }
    };
}

/// What all slots share.
pub const TYPES: WitPackage = package!("types");
/// Every package, [`TYPES`] first.
pub const ALL: [WitPackage; 7] = [
    TYPES,
    package!("routing"),
    package!("qos"),
    package!("topology"),
    package!("admission"),
    package!("carry"),
    package!("handler"),
];

/// Returns the package of a kind's slot; it uses [`TYPES`].
pub fn of_kind(kind: Kind) -> WitPackage {
    let own = ALL.into_iter().find(|package| package.name == kind.world());
    own.expect("a test looks for the package of every kind")
}

/// Why a component's WIT cannot be printed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitError {
    /// It is longer than [`limits::COMPONENT_BYTES`].
    #[error("the file has {len} bytes, {max} are the limit")]
    TooLarge {
        /// Its length.
        len: usize,
        /// What it may have.
        max: usize,
    },
    /// It is no component, or its types have no WIT.
    #[error("it has no WIT: {reason}")]
    NoWit {
        /// Why.
        reason: String,
    },
}

/// Returns the WIT of a component: its world, and the packages that the world uses.
///
/// # Errors
/// When the bytes are no component, too many, or use what WIT cannot say.
pub fn of_component(bytes: &[u8]) -> Result<String, WitError> {
    if bytes.len() > limits::COMPONENT_BYTES {
        return Err(WitError::TooLarge { len: bytes.len(), max: limits::COMPONENT_BYTES });
    }
    let no_wit = |reason: String| WitError::NoWit { reason: clip(reason) };
    if !wasmparser::Parser::is_component(bytes) {
        return Err(no_wit("it is no component".into()));
    }
    let decoded = wit_component::decode(bytes).map_err(|error| no_wit(format!("{error:#}")))?;
    if matches!(decoded, DecodedWasm::WitPackage(..)) {
        return Err(no_wit("it is a WIT package, not a component".into()));
    }
    let (resolve, main) = (decoded.resolve(), decoded.package());
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, main, &others).map_err(|error| no_wit(format!("{error:#}")))?;
    Ok(printer.output.to_string())
}

/// Functions of the host that a component imports, by interface with its version: those that it really calls,
/// because the encoder drops the others.
///
/// # Errors
/// As for [`of_component`].
pub fn imported_functions(bytes: &[u8]) -> Result<Vec<(String, Vec<String>)>, WitError> {
    let imports = inspect(bytes).map_err(|error| WitError::NoWit { reason: error.to_string() })?.imports;
    let decoded = wit_component::decode(bytes)
        .map_err(|error| WitError::NoWit { reason: clip(format!("{error:#}")) })?;
    let resolve = decoded.resolve();
    let named = resolve.interfaces.iter().filter_map(|(id, interface)| Some((resolve.id_of(id)?, interface)));
    let imported = named.filter(|(name, _)| imports.iter().any(|import| import.name == *name));
    Ok(imported.map(|(name, interface)| (name, interface.functions.keys().cloned().collect())).collect())
}

/// The oldest host that has a function of an interface, or the whole interface where no function is named.
/// Additions to an interface get a row of their own with the host that brought them.
const SINCE: [(&str, &str, &str); 10] = [
    ("mesh:types/common", "", "0.1.0"),
    ("mesh:routing/policy", "", "0.1.0"),
    ("mesh:qos/policy", "", "0.1.0"),
    ("mesh:topology/policy", "", "0.1.0"),
    ("mesh:admission/policy", "", "0.1.0"),
    ("mesh:carry/policy", "", "0.1.0"),
    ("mesh:handler/events", "", "0.1.0"),
    ("mesh:handler/log", "", "0.1.0"),
    ("mesh:handler/kv", "", "0.1.0"),
    ("wasi:", "", "0.1.0"),
];

/// Returns the oldest host that offers a function, or an interface when `function` is empty; `None` when none does.
pub fn since(interface: &str, function: &str) -> Option<&'static str> {
    let bare = interface.split('@').next().unwrap_or(interface);
    let fits = |(of, name, _): &&(&str, &str, &'static str)| {
        let is_it = if of.ends_with(':') { bare.starts_with(of) } else { bare == *of };
        is_it && *name == function
    };
    let exact = SINCE.iter().find(fits);
    let whole = || SINCE.iter().find(|(of, name, _)| name.is_empty() && fits(&&(*of, function, "")));
    exact.or_else(whole).map(|(_, _, host)| *host)
}

/// Returns the newest of the hosts that brought what a component imports and exports, which is the oldest that it
/// runs on; `None` when no host has it all.
pub fn lowest_host(seen: &Inspection, imported: &[(String, Vec<String>)]) -> Option<&'static str> {
    if seen.imports.iter().any(|import| import.needs == Needs::Impossible) {
        return None;
    }
    let of_imports = imported.iter().flat_map(|(interface, functions)| {
        let whole = functions.is_empty().then_some("");
        functions.iter().map(String::as_str).chain(whole).map(|function| since(interface, function))
    });
    let of_exports = seen.exports.iter().filter(|name| name.contains(':')).map(|name| since(name, ""));
    let mut lowest = "0.1.0";
    for host in of_imports.chain(of_exports) {
        let host = host?;
        if is_newer(host, lowest) {
            lowest = host;
        }
    }
    Some(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_package_whose_text_says_its_name() {
        for kind in Kind::ALL {
            assert!(of_kind(kind).text.starts_with(&format!("package {};", kind.world())), "{kind}");
        }
    }

    #[test]
    fn a_components_wit_names_what_it_exports() {
        let text = of_component(crate::builtin::LATENCY).unwrap();

        assert!(text.contains("export mesh:routing/policy@0.1.0;"), "{text}");
        assert!(text.contains("decide: func(now-ms: u64, batch: batch) -> list<u32>;"), "{text}");
    }

    #[test]
    fn the_functions_that_a_component_imports_have_a_host_that_offers_them() {
        assert_eq!(
            imported_functions(crate::builtin::LATENCY).unwrap(),
            [("mesh:types/common@0.1.0".into(), vec![])]
        );
        let beacon = imported_functions(crate::builtin::BEACON).unwrap();

        let log = beacon.iter().find(|(name, _)| name == "mesh:handler/log@0.1.0").unwrap();
        assert_eq!(log.1, ["write"]);
        for (interface, functions) in &beacon {
            assert!(
                functions.iter().all(|function| since(interface, function) == Some("0.1.0")),
                "{interface}"
            );
        }
        assert_eq!(since("mesh:handler/sockets@0.1.0", "open"), None);
    }

    #[test]
    fn what_is_no_component_has_no_wit() {
        assert!(matches!(of_component(b"\0asm\x01\0\0\0"), Err(WitError::NoWit { .. })));
    }
}
