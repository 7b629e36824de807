//! Names of system calls.

use syscalls::Sysno;

/// The name of the system call with this number on the architecture that asynctrace runs on, as in
/// the kernel's table: `clock_nanosleep`. `None` for a number that this table does not have (a
/// newer kernel's).
#[must_use]
pub fn syscall_name(number: u32) -> Option<&'static str> {
    Sysno::new(usize::try_from(number).ok()?).map(|known| known.name())
}

/// The name, or `system call 999` where there is none.
#[must_use]
pub fn syscall_text(number: u32) -> String {
    syscall_name(number).map_or_else(|| format!("system call {number}"), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        let of = |number: libc::c_long| syscall_name(u32::try_from(number).unwrap());
        assert_eq!(of(libc::SYS_read), Some("read"));
        assert_eq!(of(libc::SYS_clock_nanosleep), Some("clock_nanosleep"));
        assert_eq!(of(libc::SYS_futex), Some("futex"));
        assert_eq!(syscall_name(400), None, "never used on x86-64");
        assert_eq!(syscall_name(u32::MAX), None);
        assert_eq!(syscall_text(400), "system call 400");
    }
}
