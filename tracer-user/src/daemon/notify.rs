//! What systemd is told (`Type=notify`); nothing where it did not start us.

use sd_notify::NotifyState;

/// It runs, or runs again after a reload.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its configuration anew.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("no time for systemd: {error}"),
    }
}

/// It ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd was not told: {error}");
    }
}
