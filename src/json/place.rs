//! Places in text that is no JSON: where parsing stopped, and in which value that is.

/// Where serde's line and column are, in bytes.
pub(super) fn offset(payload: &[u8], line: usize, column: usize) -> usize {
    let before = payload.split(|byte| *byte == b'\n').take(line.saturating_sub(1));
    let start: usize = before.map(|line| line.len() + 1).sum();
    (start + column.saturating_sub(1)).min(payload.len())
}

/// How serde begins to say that it stopped where a value is, and not within a text or a name.
const AT_A_VALUE: [&str; 3] = ["expected value", "expected ident", "invalid number"];

/// The number at which parsing stopped, if it is none or infinite: `NaN`, `-Infinity`, `1e999`.
pub(super) fn non_finite(payload: &[u8], stop: usize, why: &serde_json::Error) -> Option<String> {
    let ends =
        |byte: &u8| matches!(byte, b':' | b',' | b'[' | b']' | b'{' | b'}') || byte.is_ascii_whitespace();
    let start = payload[..stop].iter().rposition(ends).map_or(0, |at| at + 1);
    let end = payload[stop..].iter().position(ends).map_or(payload.len(), |at| stop + at);
    let word = String::from_utf8_lossy(&payload[start..end]).into_owned();
    let bare = word.trim_start_matches(['-', '+']).to_ascii_lowercase();
    let why = why.to_string();
    let says = |what: &str| why.starts_with(what);
    let named = (bare.starts_with("nan") || bare.starts_with("inf")) && AT_A_VALUE.into_iter().any(says);
    (named || says("number out of range")).then_some(word)
}

/// JSON pointer of the value in which the byte at `stop` is.
pub(super) fn pointer(payload: &[u8], stop: usize) -> String {
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while at < stop {
        match payload[at] {
            b'{' => levels.push(Level::Field(String::new(), true)),
            b'[' => levels.push(Level::Item(0)),
            b'}' | b']' => {
                levels.pop();
            }
            b',' => match levels.last_mut() {
                Some(Level::Item(index)) => *index += 1,
                Some(Level::Field(_, naming)) => *naming = true,
                None => {}
            },
            b':' => {
                if let Some(Level::Field(_, naming)) = levels.last_mut() {
                    *naming = false;
                }
            }
            b'"' => {
                let end = end_of_text(payload, at);
                if let Some(Level::Field(name, true)) = levels.last_mut() {
                    *name = serde_json::from_slice(&payload[at..end]).unwrap_or_default();
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    levels
        .iter()
        .map(|level| match level {
            Level::Item(index) => format!("/{index}"),
            Level::Field(name, _) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
        })
        .collect()
}

enum Level {
    Item(usize),
    /// The field that was named last, and whether a name comes next.
    Field(String, bool),
}

/// After the closing quote of the text that begins at `start`.
fn end_of_text(payload: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < payload.len() {
        match payload[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    payload.len()
}
