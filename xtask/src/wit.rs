//! `cargo xtask wit`: the reference docs/plugins/wit.md, written from `wit/`.
//!
//! The WIT's own comments are its text, so that there is one place to change.

use std::fmt::Write;
use std::fs;

use wit_bindgen_core::wit_parser::{
    Docs, Function, Interface, InterfaceId, PackageId, Resolve, Type, TypeDef, TypeDefKind, TypeOwner,
    WorldItem,
};

use crate::process::{Failure, Result, root};
use crate::stage::Stage;

/// The reference is what `wit/` says.
pub const CHECK: Stage = Stage { name: "wit", run: check };

const REFERENCE: &str = "docs/plugins/wit.md";

/// In the order in which they are read; the first is what the others use.
const PACKAGES: [&str; 7] = ["types", "routing", "qos", "topology", "admission", "carry", "handler"];

const HEAD: &str = "\
# The interfaces, type by type

Written by `cargo xtask wit` from the comments in [`wit/`](../../wit); change those. `meshctl plugin wit` prints the
files themselves, and `meshctl plugin wit SLOT --out DIR` writes them where build tools look.
";

/// Writes the reference.
pub fn write() -> Result {
    let (path, text) = (root().join(REFERENCE), reference()?);
    fs::write(&path, text).map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

fn check() -> Result {
    let text = reference()?;
    if fs::read_to_string(root().join(REFERENCE)).is_ok_and(|is| is == text) {
        return Ok(());
    }
    Err(Failure::new(format!("{REFERENCE} is not what wit/ says")).help("cargo xtask wit"))
}

fn reference() -> Result<String> {
    let (resolve, packages) = resolve()?;
    let mut out = HEAD.to_owned();
    for (name, id) in PACKAGES.into_iter().zip(packages) {
        package(&resolve, id, name, &mut out);
    }
    Ok(out)
}

fn resolve() -> Result<(Resolve, Vec<PackageId>)> {
    let mut resolve = Resolve::default();
    let mut packages = Vec::new();
    for name in PACKAGES {
        let path = root().join("wit").join(name);
        let pushed = resolve.push_dir(&path).map_err(|error| Failure::new(format!("{error:#}")));
        packages.push(pushed?.0);
    }
    Ok((resolve, packages))
}

fn package(resolve: &Resolve, id: PackageId, name: &str, out: &mut String) {
    let package = &resolve.packages[id];
    line(out, format_args!("\n## {}\n", package.name));
    line(out, format_args!("[`wit/{name}/{name}.wit`](../../wit/{name}/{name}.wit)\n"));
    for world in package.worlds.values().map(|id| &resolve.worlds[*id]) {
        let names = |items: &mut dyn Iterator<Item = &WorldItem>| -> String {
            let ids = items.filter_map(|item| match item {
                WorldItem::Interface { id, .. } => Some(format!("`{}`", interface_name(resolve, *id))),
                _ => None,
            });
            Some(ids.collect::<Vec<_>>().join(", "))
                .filter(|names| !names.is_empty())
                .unwrap_or("nothing".into())
        };
        let [imports, exports] = [names(&mut world.imports.values()), names(&mut world.exports.values())];
        line(out, format_args!("World `{}`: exports {exports}; may import {imports}.\n", world.name));
    }
    for id in package.interfaces.values() {
        interface(resolve, *id, out);
    }
}

fn interface(resolve: &Resolve, id: InterfaceId, out: &mut String) {
    let interface = &resolve.interfaces[id];
    line(out, format_args!("### interface {}\n", interface.name.as_deref().unwrap_or_default()));
    paragraph(&interface.docs, out);
    for function in interface.functions.values() {
        one_function(resolve, function, out);
    }
    for id in interface.types.values() {
        one_type(resolve, &resolve.types[*id], interface, out);
    }
}

fn one_function(resolve: &Resolve, function: &Function, out: &mut String) {
    let params: Vec<String> = function
        .params
        .iter()
        .map(|param| format!("{}: {}", param.name, text_of(resolve, &param.ty)))
        .collect();
    let answer =
        function.result.as_ref().map(|ty| format!(" -> {}", text_of(resolve, ty))).unwrap_or_default();
    line(out, format_args!("```wit\n{}: func({}){answer}\n```\n", function.name, params.join(", ")));
    paragraph(&function.docs, out);
}

fn one_type(resolve: &Resolve, of: &TypeDef, within: &Interface, out: &mut String) {
    let name = of.name.as_deref().unwrap_or_default();
    if let TypeDefKind::Type(Type::Id(id)) = &of.kind {
        let TypeOwner::Interface(owner) = resolve.types[*id].owner else { return };
        let own = within.name.as_deref().unwrap_or_default();
        line(out, format_args!("`{name}` in `{own}` is that of `{}`.\n", interface_name(resolve, owner)));
        return;
    }
    line(out, format_args!("#### {} {name}\n", of.kind.as_str()));
    paragraph(&of.docs, out);
    let mut rows: Vec<[String; 3]> = Vec::new();
    let payload = |ty: &Option<Type>| ty.as_ref().map(|ty| text_of(resolve, ty)).unwrap_or_default();
    let title = match &of.kind {
        TypeDefKind::Record(record) => {
            rows.extend(
                record.fields.iter().map(|f| [f.name.clone(), text_of(resolve, &f.ty), cell(&f.docs)]),
            );
            "field"
        }
        TypeDefKind::Variant(variant) => {
            rows.extend(
                variant.cases.iter().map(|case| [case.name.clone(), payload(&case.ty), cell(&case.docs)]),
            );
            "case"
        }
        TypeDefKind::Enum(cases) => {
            rows.extend(cases.cases.iter().map(|case| [case.name.clone(), String::new(), cell(&case.docs)]));
            "case"
        }
        _ => return,
    };
    table(title, &rows, out);
}

fn table(title: &str, rows: &[[String; 3]], out: &mut String) {
    line(out, format_args!("| {title} | type | |\n|---|---|---|"));
    for [name, ty, docs] in rows {
        let ty = if ty.is_empty() { String::new() } else { format!("`{ty}`") };
        line(out, format_args!("| `{name}` | {ty} | {docs} |"));
    }
    out.push('\n');
}

fn text_of(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else { return primitive(ty).to_owned() };
    let of = &resolve.types[*id];
    if let Some(name) = &of.name {
        return name.clone();
    }
    let inner = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), |ty| text_of(resolve, ty));
    match &of.kind {
        TypeDefKind::List(ty) => format!("list<{}>", text_of(resolve, ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", text_of(resolve, ty)),
        TypeDefKind::Result(both) => format!("result<{}, {}>", inner(&both.ok), inner(&both.err)),
        TypeDefKind::Tuple(tuple) => {
            let types: Vec<String> = tuple.types.iter().map(|ty| text_of(resolve, ty)).collect();
            format!("tuple<{}>", types.join(", "))
        }
        other => other.as_str().to_owned(),
    }
}

fn primitive(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
        Type::Id(_) => "a type with a name",
    }
}

fn interface_name(resolve: &Resolve, id: InterfaceId) -> String {
    resolve.id_of(id).unwrap_or_default()
}

fn paragraph(docs: &Docs, out: &mut String) {
    if let Some(text) = &docs.contents {
        line(out, format_args!("{}\n", text.trim_end()));
    }
}

/// A cell of a table has one line.
fn cell(docs: &Docs) -> String {
    docs.contents
        .as_deref()
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_and_field_of_the_files_is_in_the_reference() {
        let ((resolve, _), text) = (resolve().unwrap(), reference().unwrap());
        let table = [
            "decide: func(now-ms: u64, batch: batch) -> list<u32>",
            "load-state: func(from-version: u32, state: list<u8>) -> result<_, refusal>",
            "| `rtt-us` | `list<u32>` | Smoothed round-trip time in microseconds. |",
            "| `unknown-version` | `u32` | State of this version cannot be read. |",
            "`refusal` in `policy` is that of `mesh:types/common@0.1.0`.",
            "World `handler`: exports `mesh:handler/events@0.1.0`; may import `mesh:handler/log@0.1.0`, ",
        ];

        for wanted in table {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        for function in resolve.interfaces.iter().flat_map(|(_, interface)| interface.functions.values()) {
            assert!(text.contains(&format!("\n{}: func(", function.name)), "{}", function.name);
        }
        for (_, of) in &resolve.types {
            let name = of.name.as_deref().unwrap_or_default();
            let title = format!("## {} {name}\n", of.kind.as_str());
            let rows: Vec<String> = names_in(of).iter().map(|name| format!("\n| `{name}` | ")).collect();
            // Two interfaces may have types of one name.
            let mut sections = text.split("\n##").filter(|section| section.starts_with(&title));
            let is_shown = sections.any(|section| rows.iter().all(|row| section.contains(row)));
            assert!(is_shown || rows.is_empty(), "{title}{rows:?}");
        }
    }

    fn names_in(of: &TypeDef) -> Vec<&str> {
        match &of.kind {
            TypeDefKind::Record(record) => record.fields.iter().map(|field| field.name.as_str()).collect(),
            TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| case.name.as_str()).collect(),
            TypeDefKind::Enum(cases) => cases.cases.iter().map(|case| case.name.as_str()).collect(),
            _ => Vec::new(),
        }
    }
}
