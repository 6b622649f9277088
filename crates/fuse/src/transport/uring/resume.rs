//! Going on with mounts that had joined the rings of a process that ended.
//!
//! What that process had taken and not answered is in its slots: it is answered first. Then the kernel is given fresh entries.
//! Requests that came meanwhile lie in the kernel's queues, which it looks into when an answer comes from the same CPU:
//! so somebody makes a request from each CPU ([`Handler::nudge`](crate::Handler::nudge)). Requests that the kernel gave to
//! that process while it ended were written nowhere: the kernel itself fails them with ECANCELED.
//! Invariant: nothing here asks the mount, which this process serves.

use super::{Order, Rings, Seat, locked};
use crate::connection::Connection;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::thread;

impl Rings {
    /// Goes on with a mount, if it had joined. Returns before its first request is answered.
    pub(crate) fn resume(self: &Arc<Self>, id: u64, connection: &Arc<Connection>) -> io::Result<()> {
        let mut inner = locked(&self.inner);
        let Some(slots) = inner.left_behind.remove(&connection.mount_id()) else { return Ok(()) };
        self.start(&mut inner)?;
        let seat = Seat::new(id, connection, false);
        inner.seats.insert(id, Arc::clone(&seat));
        let mut by_queue: HashMap<u16, Vec<_>> = HashMap::new();
        for (queue, slot) in slots {
            by_queue.entry(queue).or_default().push((queue, slot));
        }
        let (told, resumed) = channel();
        for (inbox, _) in &inner.threads {
            let slots =
                inbox.queues.iter().flat_map(|queue| by_queue.remove(queue).unwrap_or_default()).collect();
            inbox.send(Order::Resume(Arc::clone(&seat), slots, told.clone()));
        }
        drop((told, inner));
        let rings = Arc::clone(self);
        let go_on = move || {
            while resumed.recv().is_ok() {}
            seat.connection.handler().nudge();
            seat.is_settled.store(true, Ordering::Release);
            rings.tell_all(|| Order::Settle(Arc::clone(&seat)));
        };
        thread::Builder::new().name("weald-resume".to_owned()).spawn(go_on)?;
        Ok(())
    }
}
