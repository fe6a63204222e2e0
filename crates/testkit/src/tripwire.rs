//! Looks for a marker secret in whatever form it may have leaked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The marker's bytes in every form that software likes to give them.
fn forms(marker: &str) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let wide: Vec<u8> = marker.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut forms = vec![
        ("UTF-8", marker.as_bytes().to_vec()),
        ("UTF-16", wide.clone()),
        ("hex", hex(marker.as_bytes()).into_bytes()),
        ("HEX", hex(marker.as_bytes()).to_uppercase().into_bytes()),
        ("hex of UTF-16", hex(&wide).into_bytes()),
        (
            "decimal list",
            marker.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ").into_bytes(),
        ),
        (
            "decimal array",
            marker.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(",").into_bytes(),
        ),
        (
            "percent-encoded",
            marker.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>().into_bytes(),
        ),
    ];
    for bytes in [marker.as_bytes(), &wide] {
        for before in 0..3 {
            // What surrounds the marker decides the first and last characters: only those between are certain.
            let padded = [vec![0; before], bytes.to_vec()].concat();
            let text = STANDARD_NO_PAD.encode(&padded);
            let from = (before * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            forms.push(("Base64", text.as_bytes()[from..to].to_vec()));
            forms.push(("Base64url", text[from..to].replace('+', "-").replace('/', "_").into_bytes()));
        }
    }
    forms
}

/// In which form the marker stands in the bytes, if it does.
pub fn find(marker: &str, bytes: &[u8]) -> Option<&'static str> {
    let stands = |form: &Vec<u8>| bytes.windows(form.len()).any(|window| window == form.as_slice());
    forms(marker).into_iter().find(|(_, form)| stands(form)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_in_every_form_and_nowhere_else() {
        use base64::engine::general_purpose::STANDARD;
        let wide: Vec<u8> = "xMarker-1y".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, form) in [
            (b"a Marker-1 b".to_vec(), "UTF-8"),
            (wide, "UTF-16"),
            (b"x4d61726b65722d31".to_vec(), "hex"),
            (b"[77,97,114,107,101,114,45,49]".to_vec(), "decimal array"),
            (b"%4D%61%72%6B%65%72%2D%31".to_vec(), "percent-encoded"),
        ] {
            assert_eq!(find("Marker-1", &bytes), Some(form));
        }
        for before in ["", "a", "ab", "abc"] {
            let text = STANDARD.encode(format!("{before}Marker-1xyz"));
            assert_eq!(find("Marker-1", text.as_bytes()), Some("Base64"), "{text}");
        }
        assert_eq!(find("Marker-1", b"marker-1 Marker-2"), None);
    }
}
