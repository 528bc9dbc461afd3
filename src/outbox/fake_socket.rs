//! A socket for tests.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;

use super::Sink;

/// A socket that accepts `room` bytes.
#[derive(Default)]
pub(super) struct FakeSocket {
    pub(super) received: RefCell<Vec<u8>>,
    pub(super) room: Cell<usize>,
    /// Number of writes that it accepted or rejected.
    pub(super) writes: Cell<usize>,
}

impl FakeSocket {
    pub(super) fn with_room(room: usize) -> Rc<Self> {
        let socket = Self::default();
        socket.room.set(room);
        Rc::new(socket)
    }
}

impl Sink for FakeSocket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes.set(self.writes.get() + 1);
        if self.room.get() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut accepted = 0;
        for slice in slices {
            let n = slice.len().min(self.room.get());
            self.received.borrow_mut().extend_from_slice(&slice[..n]);
            self.room.set(self.room.get() - n);
            accepted += n;
        }
        Ok(accepted)
    }
}
