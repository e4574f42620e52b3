//! What another node needs to become as this one: installed plugins as packages, and the bindings of the slots.

use bytes::Bytes;
use mesh_plugin_host::{Package, SlotStatus, inspect};

use super::Driver;
use super::operate::silent;
use super::slots::{not_ready, slot_named};
use crate::api::{ApiError, BindingReport, BindingRow, Fetched, InstalledRow, Reply, code};
use crate::plugins::granted::names;
use crate::plugins::{Installed, ReadyError, SLOTS, package_failed, plugin_ref};

impl Driver {
    pub(super) fn export_plugin(&self, text: &str) -> Result<Reply, ApiError> {
        let installed = self.installed_or_bound(text)?;
        let (bytes, is_package) = self.packed(installed)?;
        let plugin = plugin_ref("", Some(&installed.revision));
        Ok(Reply::Fetched(Fetched { plugin, is_package, bytes }))
    }

    fn installed_or_bound(&self, text: &str) -> Result<&Installed, ApiError> {
        let Ok(kind) = slot_named(text) else { return self.parts.plugins.find(text) };
        let bound = self.parts.plugins.bound(kind.slot());
        let installed = bound.and_then(|revision| self.parts.plugins.installed.get(&revision.digest));
        installed.ok_or_else(|| {
            let message = format!("no plugin is in the slot {}", kind.slot());
            ApiError::new(&code::NO_PLUGIN_IN_SLOT, message).help("meshctl plugin list")
        })
    }

    /// One encoding of each package: what was installed as one with these signatures comes out as the same bytes.
    fn packed(&self, installed: &Installed) -> Result<(Bytes, bool), ApiError> {
        let component = self.component(&installed.revision.digest)?;
        let inspection = inspect(&component).map_err(|error| super::load_failed(&error))?;
        if inspection.digest != installed.revision.digest {
            return Err(not_ready(&ReadyError::Exchanged));
        }
        match inspection.manifest_bytes {
            Some(manifest) => {
                let signatures = installed.signatures.clone();
                let package = Package { manifest: &manifest, component: &component, signatures };
                Ok((package.encode().map_err(|error| package_failed(&error))?.into(), true))
            }
            None => Ok((component, false)),
        }
    }

    pub(super) fn bindings(&self, handler: Option<&SlotStatus>) -> Result<Reply, ApiError> {
        let handler = Some(handler.ok_or_else(silent)?);
        let statuses = SLOTS.into_iter().filter_map(|kind| self.status_of(kind.slot(), handler));
        let plugins = &self.parts.plugins;
        let installed = plugins.installed.values().map(|installed| InstalledRow {
            plugin: plugin_ref("", Some(&installed.revision)),
            size_bytes: installed.size as u64,
            built_in: installed.is_built_in,
            grants: names(installed.grants),
            pinned: plugins.pinned.contains(&installed.revision.digest),
        });
        let slots: Vec<BindingRow> = statuses.map(|status| plugins.binding_row(&status)).collect();
        Ok(Reply::Bindings(BindingReport { slots, installed: installed.collect() }))
    }
}
