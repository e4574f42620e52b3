//! A core module and its manifest as one component. Shared with the build script, so it knows nothing of this
//! crate.

use wit_component::ComponentEncoder;

/// Encodes `core` as a component and appends `data` as the custom section `name`. The error is for people.
pub fn encode(core: &[u8], name: &str, data: &[u8]) -> Result<Vec<u8>, String> {
    let component = ComponentEncoder::default()
        .validate(true)
        .module(core)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))?;
    Ok(with_section(component, name, data))
}

/// Appends a custom section: id 0, length, length of the name, name, data.
pub fn with_section(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = leb128(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    component.push(0);
    component.extend(leb128(content.len()));
    component.extend(content);
    component
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    out.push(number as u8);
    out
}
