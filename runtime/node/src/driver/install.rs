//! Components that come in: what they are, who signed them, whether they are taken.

use bytes::Bytes;
use mesh_plugin_host::interfaces::{imported_functions, lowest_host};
use mesh_plugin_host::sign::Signed;
use mesh_plugin_host::{Grants, LoadError, limits};

use super::Driver;
use super::clock::unix_ms;
use super::slots::{Done, coded, unreadable};
use crate::api::{
    ApiError, EventKind, ImportRow, InspectReport, InstallReport, Reply, SectionRow, SignerRow, SignerState,
    code,
};
use crate::mesh::Answer;
use crate::plugins::{
    Candidate, Installed, Opened, claims, granted, merge, plugin_ref, signer_row, unpack, verify_failed,
};

impl Driver {
    pub(super) fn install(
        &mut self,
        (origin, grants): (String, Vec<String>),
        bytes: Bytes,
        dry_run: bool,
        answer: Answer<Reply>,
    ) {
        let grants = match granted::parse(&grants) {
            Ok(grants) => grants,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let (engine, done) = (self.parts.plugins.engine.clone(), self.done_sender.clone());
        let trust = self.parts.plugins.trust.clone();
        let given = self.parts.plugins.given();
        tokio::task::spawn_blocking(move || {
            let outcome = trust.candidate(&engine, &bytes, (grants, &given), unix_ms());
            // A driver that is gone has nobody to answer.
            let _ = done.blocking_send(Done::Loaded { outcome, origin, dry_run, answer });
        });
    }

    pub(super) fn on_loaded(
        &mut self,
        candidate: Candidate,
        origin: &str,
        dry_run: bool,
    ) -> Result<Reply, ApiError> {
        let Candidate { loaded, component, signatures, grants } = candidate;
        let (revision, kind) = (loaded.revision().clone(), loaded.kind());
        if !self.parts.plugins.installed.contains_key(&revision.digest) {
            self.check_room(component.len())?;
        }
        let plugins = &mut self.parts.plugins;
        // Again, with what is known of this revision already: the list may have changed during the compilation,
        // and a component that a revoked key has signed is not taken without its signature either.
        let known = plugins.installed.get(&revision.digest);
        let before = plugins.known_signatures(&self.parts.store, loaded.inspection());
        let before = before.map_err(|error| unreadable(&error))?;
        let signatures = merge(&plugins.trust.list, &before, &signatures);
        if known.is_none_or(|known| !known.is_built_in) {
            plugins.trust.judge(&signatures, &revision, kind, Some(unix_ms()))?;
        }
        let mut report = InstallReport {
            plugin: revision.name.clone(),
            version: revision.version.clone(),
            revision: revision.digest_text(),
            size_bytes: component.len() as u64,
            kind: kind.name().to_owned(),
            slots: vec![kind.slot().to_owned()],
            imports: imports_of(loaded.inspection()),
            compile_s: loaded.compile_time().as_secs_f64(),
            cached: loaded.is_cached(),
            known: known.is_some(),
            signers: plugins.trust.signers(&signatures, &revision.name, kind, unix_ms()),
            dry_run,
            undo: None,
        };
        if !dry_run {
            let granted = plugins.keep_grants(&revision.digest, grants);
            let write = plugins.install(loaded, grants, origin, &component);
            self.writes.extend(granted);
            report.known = write.is_none();
            report.undo = write.as_ref().map(|_| format!("meshctl plugin remove {}", report.revision));
            let signed = plugins.add_signatures(&revision.digest, &signatures);
            self.writes.extend(write.into_iter().chain(signed));
            self.tell(EventKind::PluginInstalled { plugin: plugin_ref("", Some(&revision)) });
        }
        Ok(Reply::Installed(report))
    }

    /// Says what an installed plugin or a file is; reads the WebAssembly on another thread.
    pub(super) fn inspect_plugin(&self, plugin: Option<String>, body: Bytes, answer: Answer<Reply>) {
        let installed = plugin.filter(|_| body.is_empty()).map(|text| self.with_signers(&text));
        let (bytes, signers) = match installed.transpose() {
            Ok(Some((bytes, signers))) => (bytes, Some(signers)),
            Ok(None) => (body, None),
            Err(error) => return drop(answer.send(Err(error))),
        };
        tokio::task::spawn_blocking(move || {
            let report = inspect_report(&bytes).map(|report| match signers {
                Some(signers) => InspectReport { signers, ..report },
                None => report,
            });
            // Whoever asked may have gone.
            let _ = answer.send(report.map(Reply::Inspected));
        });
    }

    fn with_signers(&self, text: &str) -> Result<(Bytes, Vec<SignerRow>), ApiError> {
        let Installed { revision, kind, signatures, .. } = self.parts.plugins.find(text)?;
        let signers = self.parts.plugins.trust.signers(signatures, &revision.name, *kind, unix_ms());
        Ok((self.component(&revision.digest)?, signers))
    }
}

/// Says what a component or package is, who signed it, and why it could not be installed. Trusts nobody: whether a
/// key is trusted only a node knows.
///
/// # Errors
/// The bytes are no component or package at all, or the package shows another manifest than its component has.
pub fn inspect_report(bytes: &[u8]) -> Result<InspectReport, ApiError> {
    let Opened { inspection, component, signatures } = unpack(&Bytes::copy_from_slice(bytes))?;
    let manifest = inspection.manifest.as_ref();
    let mut findings: Vec<String> =
        inspection.findings(Grants::ALL).iter().map(|f| format!("{}: {f}", f.code())).collect();
    let now_ms = unix_ms();
    let has_ended = |signed: &Signed| signed.statement().expires_ms.is_some_and(|end_ms| end_ms <= now_ms);
    if !signatures.is_empty() && signatures.iter().all(has_ended) {
        findings.push(format!("{}: no signature of it is valid any more", code::SIGNATURE_EXPIRED.id));
    }
    let signers = signatures.iter().map(|signed| match signed.verify(&inspection) {
        Ok(()) if has_ended(signed) => signer_row(signed, SignerState::Expired, None),
        Ok(()) => signer_row(signed, SignerState::Verified, None),
        Err(error) => {
            let refusal = verify_failed(&error);
            let note = format!("{}: {error}", refusal.code);
            findings.push(note.clone());
            signer_row(signed, SignerState::Invalid, Some(note))
        }
    });
    let signers = signers.collect();
    let debug = inspection.custom_sections.iter().filter(|(name, _)| name.starts_with(".debug_"));
    Ok(InspectReport {
        plugin: manifest.map(|_| inspection.revision().name),
        version: manifest.map(|_| inspection.revision().version),
        revision: inspection.revision().digest_text(),
        size_bytes: inspection.size_bytes as u64,
        kind: inspection.kind.map(|kind| kind.name().to_owned()),
        imports: imports_of(&inspection),
        exports: inspection.exports.clone(),
        pure: inspection.is_pure,
        lowest_host: lowest_host(&inspection, &imported_functions(&component).unwrap_or_default())
            .map(str::to_owned),
        manifest: manifest.map(claims::claims),
        has_names: inspection.custom_sections.iter().any(|(name, _)| name == "name"),
        debug_bytes: debug.map(|(_, len)| *len as u64).sum(),
        sections: sections_of(&inspection),
        findings,
        signers,
    })
}

fn sections_of(inspection: &mesh_plugin_host::Inspection) -> Vec<SectionRow> {
    let mut sections: Vec<SectionRow> = Vec::new();
    for (name, len) in &inspection.custom_sections {
        match sections.iter_mut().find(|row| row.section == *name) {
            Some(row) => row.size_bytes += *len as u64,
            None => sections.push(SectionRow { section: name.clone(), size_bytes: *len as u64 }),
        }
    }
    sections
}

fn imports_of(inspection: &mesh_plugin_host::Inspection) -> Vec<ImportRow> {
    use mesh_plugin_host::inspect::Needs;
    let row = |import: &mesh_plugin_host::inspect::Import| ImportRow {
        import: import.name.clone(),
        grant: match import.needs {
            Needs::Grant(grant) => Some(grant.to_owned()),
            Needs::Nothing | Needs::VirtualWasi | Needs::Impossible => None,
        },
        granted: import.needs != Needs::Impossible,
        virtual_wasi: import.needs == Needs::VirtualWasi,
    };
    inspection.imports.iter().map(row).collect()
}

/// Says why a component is not taken without being asked for as a large one.
pub(super) fn refuse_large(body: &[u8], allow_large: bool) -> Option<ApiError> {
    if allow_large || body.len() <= limits::LARGE_BYTES {
        return None;
    }
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let message =
        format!("it has {:.1} MiB, and above {} it is large", mib(body.len()), mib(limits::LARGE_BYTES));
    let error = ApiError::new(&code::LARGE_PLUGIN, message);
    Some(error.help("meshctl plugin bench FILE").help("meshctl plugin install FILE --allow-large"))
}

pub(crate) fn load_failed(error: &LoadError) -> ApiError {
    let failed = ApiError::new(coded(error.code()), error).help(error.hint());
    match error {
        LoadError::NotGranted { grant, .. } => {
            failed.help(format!("meshctl plugin install FILE --grant {grant}"))
        }
        _ => failed,
    }
}
