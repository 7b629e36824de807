//! Attributes: by the semantic conventions where these have a name for it, else `asynctrace.*`.

use crate::export::recording::Header;
use crate::proto::foreign::otlp::any_value::Value;
use crate::proto::foreign::otlp::{AnyValue, KeyValue, Resource};
use crate::show::escape::escape;

/// A list of attributes.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.add(key, Value::StringValue(escape(text).into_owned()));
    }

    pub(super) fn number(&mut self, key: &str, number: u64) {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.add(key, Value::IntValue(number));
    }

    pub(super) fn flag(&mut self, key: &str) {
        self.add(key, Value::BoolValue(true));
    }

    fn add(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
        });
    }
}

/// The process.
pub(super) fn resource(header: &Header) -> Resource {
    let process = &header.process;
    let name = process.exe.rsplit('/').next().unwrap_or(&process.exe);
    let mut attributes = Attributes::default();
    // The convention's own word for a service that has not said its name.
    let service = if name.is_empty() {
        "unknown_service"
    } else {
        name
    };
    attributes.text("service.name", service);
    attributes.number("process.pid", u64::try_from(process.pid).unwrap_or(0));
    attributes.text("process.executable.name", name);
    attributes.text("process.executable.path", &process.exe);
    if let Some(build_id) = &process.build_id {
        attributes.text("process.executable.build_id.gnu", build_id);
    }
    attributes.text("process.runtime.name", &header.runtime);
    attributes.text("os.type", "linux");
    attributes.text("host.arch", architecture(&header.host.architecture));
    attributes.text("asynctrace.recording.id", &header.trace_id.to_string());
    Resource {
        attributes: attributes.0,
    }
}

/// The convention's word for a machine that the kernel calls otherwise.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
