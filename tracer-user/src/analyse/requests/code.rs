//! Whose code a future is: the user's, that of a library which calls services, or another
//! library's. Told by where the awaits in its crate were written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::analyse::history::{Awaited, History};

/// Where service calls come from: prefixes of paths, and the name to tell the user. Modules of
/// hyper 1, hyper-util 0.1, axum 0.7 to 0.8, tonic 0.12 to 0.14, tower 0.4 to 0.5, actix-web 4 with
/// actix-http 3 and actix-service 2, as read from their sources.
const SERVICES: &[(&str, &str)] = &[
    ("hyper::proto::", "hyper"),
    ("hyper::server::", "hyper"),
    ("hyper::service::", "hyper"),
    ("hyper_util::server::", "hyper"),
    ("hyper_util::service::", "hyper"),
    ("axum::routing::", "axum"),
    ("axum::handler::", "axum"),
    ("axum::middleware::", "axum"),
    ("tonic::server::", "tonic"),
    ("tonic::service::", "tonic"),
    ("tonic::transport::server::", "tonic"),
    ("tower::", "tower"),
    ("tower_http::", "tower"),
    ("tower_service::", "tower"),
    ("actix_http::h1::", "actix-web"),
    ("actix_http::h2::", "actix-web"),
    ("actix_http::service::", "actix-web"),
    ("actix_service::", "actix-web"),
    ("actix_web::", "actix-web"),
];

/// Crates that are nobody's own program, whatever their files are called.
const LIBRARIES: &[&str] = &[
    "core",
    "std",
    "alloc",
    "tokio",
    "tokio_util",
    "tokio_stream",
    "tokio_rustls",
    "futures",
    "futures_util",
    "futures_core",
    "futures_lite",
    "async_stream",
    "hyper",
    "hyper_util",
    "h2",
    "h3",
    "axum",
    "axum_core",
    "axum_extra",
    "tonic",
    "tower",
    "tower_http",
    "tower_service",
    "tower_layer",
    "tracing",
    "tracing_futures",
    "reqwest",
    "sqlx",
    "sqlx_core",
    "actix_web",
    "actix_http",
    "actix_server",
    "actix_service",
    "actix_files",
    "actix_rt",
    "warp",
    "rustls",
    "quinn",
    "pin_project",
    "async_trait",
];

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The program's own, or a part of its workspace.
    User,
    /// A library that calls services; its name.
    Service(&'static str),
    /// Any other library.
    Library,
}

/// What is awaited, numbered, and whose it is.
#[derive(Debug)]
pub(super) struct Code {
    /// The different things that are awaited, in order of first sight.
    pub(super) keys: Vec<Arc<Awaited>>,
    /// For each await instance its number in `keys`.
    pub(super) key_of: Vec<u32>,
    owners: Vec<Owner>,
    written_by_user: Vec<bool>,
}

impl Code {
    pub(super) fn of(history: &History) -> Self {
        let mut keys: Vec<Arc<Awaited>> = Vec::new();
        let mut by_value: HashMap<Arc<Awaited>, u32> = HashMap::new();
        // Most instances share their key: the address is found faster than the value.
        let mut by_address: HashMap<*const Awaited, u32> = HashMap::new();
        let mut key_of = Vec::with_capacity(history.awaits.len());
        for instance in &history.awaits {
            let awaited = &instance.awaited;
            let key = *by_address.entry(Arc::as_ptr(awaited)).or_insert_with(|| {
                *by_value.entry(Arc::clone(awaited)).or_insert_with(|| {
                    keys.push(Arc::clone(awaited));
                    u32::try_from(keys.len() - 1).unwrap_or(u32::MAX)
                })
            });
            key_of.push(key);
        }
        let own: HashSet<&str> = keys
            .iter()
            .filter_map(|key| {
                let crate_name = crate_of(key.by.as_deref()?);
                let own = !is_dependency(key.file.as_deref()?) && !LIBRARIES.contains(&crate_name);
                own.then_some(crate_name)
            })
            .collect();
        let owners = keys.iter().map(|key| owner(&key.future, &own)).collect();
        let written_by_user = keys
            .iter()
            .map(|key| {
                let by = key.by.as_deref();
                by.is_some_and(|by| owner(by, &own) == Owner::User)
            })
            .collect();
        Self {
            keys,
            key_of,
            owners,
            written_by_user,
        }
    }

    /// The number of what the instance awaits.
    pub(super) fn key(&self, instance: usize) -> usize {
        self.key_of.get(instance).map_or(0, |&key| key as usize)
    }

    /// What the instance awaits.
    pub(super) fn awaited(&self, instance: usize) -> Option<&Arc<Awaited>> {
        self.keys.get(self.key(instance))
    }

    /// Whose code the awaited future is.
    pub(super) fn owner(&self, instance: usize) -> Owner {
        let owner = self.owners.get(self.key(instance));
        owner.copied().unwrap_or(Owner::Library)
    }

    /// Whether the await stands in the user's code.
    pub(super) fn is_users_await(&self, instance: usize) -> bool {
        let written = self.written_by_user.get(self.key(instance));
        written.copied().unwrap_or(false)
    }
}

fn owner(path: &str, own: &HashSet<&str>) -> Owner {
    let bare = bare(path);
    if let Some((_, name)) = SERVICES.iter().find(|(prefix, _)| bare.starts_with(prefix)) {
        Owner::Service(name)
    } else if own.contains(crate_of(path)) {
        Owner::User
    } else {
        Owner::Library
    }
}

/// Whether an await that stands in the body `by`, in this file, is in the program's own code and not
/// in that of a library, as far as names tell.
pub(crate) fn is_own(by: &str, file: Option<&str>) -> bool {
    file.is_some_and(|file| !is_dependency(file)) && !LIBRARIES.contains(&crate_of(by))
}

/// The path from its first name on: `<&mut app::S as T>::f` from `app` on.
fn bare(path: &str) -> &str {
    let mut rest = path.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
    for word in ["mut ", "dyn ", "const ", "impl "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest
}

/// The crate that a path begins with.
pub(crate) fn crate_of(path: &str) -> &str {
    let bare = bare(path);
    let end = bare
        .find(|character: char| !(character.is_alphanumeric() || character == '_'))
        .unwrap_or(bare.len());
    &bare[..end]
}

/// Whether a source file belongs to a dependency or the standard library, by where cargo and
/// rustup put them (cargo 1.65 to 1.97).
fn is_dependency(file: &str) -> bool {
    file.starts_with("/rustc/")
        || ["/registry/src/", "/git/checkouts/", "/rustlib/src/rust/"]
            .iter()
            .any(|folder| file.contains(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_found_behind_what_stands_before_them() {
        for (path, name) in [
            ("app::serve", "app"),
            ("<app::S as tower::Service<R>>::call", "app"),
            ("&mut app::S", "app"),
            ("dyn core::future::Future", "core"),
            ("", ""),
            ("<", ""),
        ] {
            assert_eq!(crate_of(path), name);
        }
    }

    #[test]
    fn owners_are_told_by_files_and_names() {
        let own = HashSet::from(["app", "hyper"]);
        assert_eq!(owner("app::serve", &own), Owner::User);
        assert_eq!(
            owner("hyper::proto::h1::dispatch::Dispatcher<app::S>", &own),
            Owner::Service("hyper")
        );
        assert_eq!(owner("tokio::time::sleep::Sleep", &own), Owner::Library);
        assert!(is_dependency(
            "/root/.cargo/registry/src/x-1/tokio-1.54.1/src/a.rs"
        ));
        assert!(is_dependency("/rustc/0123/library/core/src/future/mod.rs"));
        assert!(!is_dependency("src/main.rs"));
    }
}
