//! The page put together: template, styles, scripts, data, and the policy that holds it to them.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::write::EncoderWriter;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha2::{Digest as _, Sha256};

use super::columns::Data;

const STYLE: &str = include_str!("page.css");

/// The scripts in the order in which they are run; each uses those before it.
pub(super) const SCRIPTS: &[(&str, &str)] = &[
    ("dom.js", include_str!("dom.js")),
    ("format.js", include_str!("format.js")),
    ("data.js", include_str!("data.js")),
    ("model.js", include_str!("model.js")),
    ("list.js", include_str!("list.js")),
    ("plot.js", include_str!("plot.js")),
    ("rows.js", include_str!("rows.js")),
    ("graph.js", include_str!("graph.js")),
    ("edges.js", include_str!("edges.js")),
    ("facts.js", include_str!("facts.js")),
    ("path.js", include_str!("path.js")),
    ("requests.js", include_str!("requests.js")),
    ("request.js", include_str!("request.js")),
    ("life.js", include_str!("life.js")),
    ("tasks.js", include_str!("tasks.js")),
    ("flame.js", include_str!("flame.js")),
    ("profile.js", include_str!("profile.js")),
    ("findings.js", include_str!("findings.js")),
    ("main.js", include_str!("main.js")),
];

/// Writes the page.
///
/// The data is JSON, deflated and in base64: a fifth of the size, and without a character that HTML
/// or a script could take for its own.
pub(super) fn write(data: &Data, out: &mut dyn Write) -> io::Result<()> {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text.as_bytes()));
    let scripts: Vec<String> = SCRIPTS
        .iter()
        .map(|(_, text)| format!("'sha256-{}'", hash(text)))
        .collect();
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         script-src {}; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>asynctrace report</title>\n<style>{STYLE}</style>\n</head>\n",
        scripts.join(" "),
        hash(STYLE),
    )?;
    out.write_all(include_bytes!("page.html"))?;
    out.write_all(b"<script type=\"application/octet-stream\" id=\"data\">")?;
    let mut encoder = ZlibEncoder::new(EncoderWriter::new(&mut *out, &BASE64), Compression::new(3));
    serde_json::to_writer(io::BufWriter::new(&mut encoder), data)?;
    encoder.finish()?.finish()?;
    out.write_all(b"</script>\n")?;
    for (name, text) in SCRIPTS {
        writeln!(out, "<script data-file=\"{name}\">{text}</script>")?;
    }
    out.write_all(b"</body>\n</html>\n")
}
