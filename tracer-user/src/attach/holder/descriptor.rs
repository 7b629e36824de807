//! A file descriptor that goes from one process to another, with a byte of the stream between them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sends one.
///
/// # Errors
/// When nobody reads.
pub(super) fn send_descriptor(to: &UnixStream, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    sendmsg(to, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for one.
///
/// # Errors
/// When something else comes, or the stream ends.
pub(super) fn receive_descriptor(from: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    recvmsg(from, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::other("a descriptor was to come, and did not"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_descriptor_arrives_between_the_messages_around_it() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        here.write_all(b"before").unwrap();
        send_descriptor(&here, writer.as_fd()).unwrap();
        here.write_all(b"after").unwrap();
        drop((here, writer));
        let mut text = [0; 6];
        there.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"before");
        let received = receive_descriptor(&there).unwrap();
        let mut rest = String::new();
        there.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "after");
        std::fs::File::from(received).write_all(b"through").unwrap();
        let mut told = String::new();
        reader.read_to_string(&mut told).unwrap();
        assert_eq!(told, "through");
    }

    #[test]
    fn a_byte_alone_and_the_end_are_errors() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"x").unwrap();
        assert!(receive_descriptor(&there).is_err());
        drop(here);
        assert!(receive_descriptor(&there).is_err());
    }
}
