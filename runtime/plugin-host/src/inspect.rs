//! What can be read from a component without compiling it: imports, exports, manifest, digest.

use wasmparser::{ComponentExternalKind, Parser, Payload};

use crate::limits;
use crate::load::{Grants, Kind, LoadError, OFFERED, Revision};
use crate::manifest::{self, Manifest, ManifestError};
use crate::settings::clip;
use crate::wasi;

/// The version of this host, as `min_host` names it.
const HOST: &str = env!("CARGO_PKG_VERSION");
/// What is said of a component that claims to be two plugins.
const TWO_MANIFESTS: ManifestError =
    ManifestError::Value { key: "plugin", reason: "stands in the component twice" };
/// Imports, exports and custom sections that are read of one component.
const MAX_ITEMS: usize = 256;

/// What a component is, read from its bytes.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its kind, or `None` when it fits no slot of this host.
    pub kind: Option<Kind>,
    /// Its length.
    pub size_bytes: usize,
    /// BLAKE3 over all of it.
    pub digest: [u8; 32],
    /// What it imports, each with the grant it needs.
    pub imports: Vec<Import>,
    /// Imports beyond those, which nobody has looked at: such a component is never loaded.
    pub unread_imports: usize,
    /// What it exports, with versions.
    pub exports: Vec<String>,
    /// Its custom sections, and those of its modules: name and length.
    pub custom_sections: Vec<(String, usize)>,
    /// Its manifest.
    pub manifest: Option<Manifest>,
    /// The text of its manifest, as it stands in the component; what is too long is cut.
    pub manifest_bytes: Option<Vec<u8>>,
    /// Why its manifest cannot be used.
    pub manifest_error: Option<ManifestError>,
    /// It imports nothing but types, so its answers depend on its arguments only.
    pub is_pure: bool,
}

/// One import of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Its name with its version.
    pub name: String,
    /// What it needs.
    pub needs: Needs,
}

/// What an import needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it is plain types.
    Nothing,
    /// This grant.
    Grant(&'static str),
    /// Virtual WASI, which grants nothing: no files, sockets, arguments or environment, and a clock and
    /// randomness that come from the call.
    VirtualWasi,
    /// No host gives it.
    Impossible,
}

/// Why bytes are no component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAComponent {
    /// A core module, what compilers make before it is encoded as a component.
    #[error("it is a core module, not a component")]
    CoreModule,
    /// Neither.
    #[error("it is no WebAssembly file")]
    NotWasm,
    /// Damaged or truncated.
    #[error("it is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
    /// Readable, but not valid.
    #[error("it is not valid: {reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
}

/// Reads what a component is. Compiles and runs nothing.
///
/// # Errors
/// When it is too large to look at, or no component. A component that could not be loaded is inspected all
/// the same.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadError> {
    if bytes.len() > limits::COMPONENT_BYTES {
        return Err(LoadError::TooLarge { len: bytes.len(), max: limits::COMPONENT_BYTES });
    }
    if Parser::is_core_wasm(bytes) {
        return Err(NotAComponent::CoreModule.into());
    }
    if !Parser::is_component(bytes) {
        return Err(NotAComponent::NotWasm.into());
    }
    let mut seen = Seen::default();
    seen.read(bytes).map_err(|error| NotAComponent::Damaged {
        offset: usize::try_from(error.offset()).unwrap_or(usize::MAX),
        reason: clip(error.message().to_string()),
    })?;
    Ok(seen.into_inspection(bytes))
}

#[derive(Default)]
struct Seen {
    imports: Vec<Import>,
    unread_imports: usize,
    exports: Vec<String>,
    custom_sections: Vec<(String, usize)>,
    manifest: Option<Vec<u8>>,
    manifests: usize,
    depth: usize,
}

impl Seen {
    fn read(&mut self, bytes: &[u8]) -> wasmparser::Result<()> {
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match payload {
                Payload::Version { .. } => self.depth += 1,
                Payload::End(_) => self.depth = self.depth.saturating_sub(1),
                Payload::CustomSection(section) => self.on_custom_section(section.name(), section.data()),
                Payload::ComponentImportSection(section) if self.depth == 1 => {
                    for import in section {
                        self.on_import(import?);
                    }
                }
                Payload::ComponentExportSection(section) if self.depth == 1 => {
                    for export in section {
                        self.on_export(export?);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn on_custom_section(&mut self, name: &str, data: &[u8]) {
        if self.depth == 1 && name == manifest::SECTION {
            self.manifests += 1;
            self.manifest = Some(data[..data.len().min(manifest::MAX_BYTES + 1)].to_vec());
        }
        if self.custom_sections.len() < MAX_ITEMS {
            self.custom_sections.push((clip(name.to_owned()), data.len()));
        }
    }

    fn on_import(&mut self, import: wasmparser::ComponentImport<'_>) {
        use wasmparser::ComponentTypeRef::{Instance, Type};
        let name = import.name.name;
        let is_plain_type = matches!(import.ty, Type(_));
        let is_instance = matches!(import.ty, Instance(_));
        let (interface, version) = split_version(name);
        let needs = match interface {
            "mesh:types/common" if is_instance => Needs::Nothing,
            "mesh:handler/log" if is_instance => Needs::Grant("log"),
            "mesh:handler/kv" if is_instance => Needs::Grant("kv"),
            _ if is_instance && wasi::is_virtual(interface, version) => Needs::VirtualWasi,
            _ if is_plain_type => Needs::Nothing,
            _ => Needs::Impossible,
        };
        if self.imports.len() < MAX_ITEMS {
            self.imports.push(Import { name: clip(name.to_owned()), needs });
        } else {
            self.unread_imports += 1;
        }
    }

    fn on_export(&mut self, export: wasmparser::ComponentExport<'_>) {
        let is_value = !matches!(export.kind, ComponentExternalKind::Type);
        if is_value && self.exports.len() < MAX_ITEMS {
            self.exports.push(clip(export.name.name.to_owned()));
        }
    }

    fn into_inspection(self, bytes: &[u8]) -> Inspection {
        let (manifest, manifest_error) = match self.manifest.as_deref().map(Manifest::parse) {
            None => (None, None),
            // Another reader might take the other one.
            Some(_) if self.manifests > 1 => (None, Some(TWO_MANIFESTS)),
            Some(Ok(manifest)) => (Some(manifest), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let exports = |kind: &Kind| self.exports.iter().any(|name| split_version(name).0 == kind.interface());
        Inspection {
            kind: Kind::ALL.into_iter().find(exports),
            size_bytes: bytes.len(),
            digest: *blake3::hash(bytes).as_bytes(),
            is_pure: self.unread_imports == 0
                && self.imports.iter().all(|import| import.needs == Needs::Nothing),
            imports: self.imports,
            unread_imports: self.unread_imports,
            exports: self.exports,
            custom_sections: self.custom_sections,
            manifest,
            manifest_bytes: self.manifest,
            manifest_error,
        }
    }
}

impl Inspection {
    /// Checks that a component can be loaded with these grants, as far as its bytes tell.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self, grants: Grants) -> Result<(), LoadError> {
        let Some(kind) = self.kind else {
            let exports = if self.exports.is_empty() { "nothing".into() } else { self.exports.join(", ") };
            return Err(LoadError::WrongWorld { exports: clip(exports) });
        };
        if self.unread_imports > 0 {
            let count = self.imports.len() + self.unread_imports;
            return Err(LoadError::OverLimit {
                reason: format!("it has {count} imports, {MAX_ITEMS} are the limit"),
            });
        }
        for name in self.exports.iter().chain(self.imports.iter().map(|import| &import.name)) {
            check_version(name)?;
        }
        for import in &self.imports {
            check_import(import, kind, grants)?;
        }
        self.check_manifest(kind)
    }

    /// Checks that what the manifest claims is what the component is.
    fn check_manifest(&self, kind: Kind) -> Result<(), LoadError> {
        if let Some(error) = &self.manifest_error {
            return Err(error.clone().into());
        }
        let Some(Manifest { plugin, .. }) = &self.manifest else { return Ok(()) };
        if !plugin.world.is_empty() && plugin.world != kind.world() {
            let (claimed, implemented) = (clip(plugin.world.clone()), kind.world());
            return Err(ManifestError::OtherWorld { claimed, implemented }.into());
        }
        if plugin.pure && !self.is_pure {
            let (key, reason) = ("plugin.pure", "is true, and the component has imports");
            return Err(ManifestError::Value { key, reason }.into());
        }
        match &plugin.min_host {
            Some(least) if manifest::is_newer(least, HOST) => {
                Err(LoadError::WrongVersion { interface: "host".into(), found: least.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Returns everything that speaks against loading it with these grants; empty when nothing does.
    pub fn findings(&self, grants: Grants) -> Vec<LoadError> {
        let mut findings: Vec<LoadError> = Vec::new();
        if let (Some(kind), 0) = (self.kind, self.unread_imports) {
            let names = self.exports.iter().chain(self.imports.iter().map(|import| &import.name));
            findings.extend(names.filter_map(|name| check_version(name).err()));
            findings
                .extend(self.imports.iter().filter_map(|import| check_import(import, kind, grants).err()));
            findings.extend(self.check_manifest(kind).err());
        } else {
            findings.extend(self.check(grants).err());
        }
        findings
    }

    /// Returns which revision it is.
    pub fn revision(&self) -> Revision {
        match &self.manifest {
            Some(manifest) => Revision {
                name: manifest.plugin.name.clone(),
                version: manifest.plugin.version.clone(),
                digest: self.digest,
            },
            None => Revision {
                name: format!("unnamed/{}", &blake3::Hash::from_bytes(self.digest).to_hex()[..8]),
                version: "0.0.0".into(),
                digest: self.digest,
            },
        }
    }
}

fn check_version(name: &str) -> Result<(), LoadError> {
    let (interface, version) = split_version(name);
    if !interface.starts_with("mesh:") || version == Some(OFFERED) {
        return Ok(());
    }
    let found = version.unwrap_or("none").to_owned();
    Err(LoadError::WrongVersion { interface: interface.to_owned(), found })
}

fn check_import(import: &Import, kind: Kind, grants: Grants) -> Result<(), LoadError> {
    match import.needs {
        Needs::Nothing | Needs::VirtualWasi => Ok(()),
        Needs::Grant(grant) if kind == Kind::Handler && grants.allows(grant) => Ok(()),
        Needs::Grant(grant) if kind == Kind::Handler => {
            Err(LoadError::NotGranted { import: import.name.clone(), grant })
        }
        _ => Err(LoadError::ForbiddenImport { import: import.name.clone(), kind }),
    }
}

/// Splits an import's or an export's name from its version.
pub(crate) fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}
