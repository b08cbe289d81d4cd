//! Tasks and blocking work of one life of a node. Blocking work runs in one step, and then takes the
//! simulated time its disk operations cost: nothing else of the world runs inside it.

use super::{
    Inner, World,
    executor::{Task, last_panic},
    locked,
    node::Life,
    timer::Due,
};
use crate::history::What;
use kms::env::{Aborter, BoxFuture, Tasks};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context, Poll, Waker},
};

/// See the module.
pub(super) struct NodeTasks {
    pub(super) inner: Arc<Inner>,
    pub(super) life: Arc<Life>,
}

impl Tasks for NodeTasks {
    fn spawn(&self, name: &'static str, work: BoxFuture<'static, ()>) -> Aborter {
        let task: Weak<Task> = match self.inner.spawn(&self.life, name, work) {
            Some(task) => Arc::downgrade(&task),
            None => Weak::new(),
        };
        Arc::new(move || {
            if let Some(task) = task.upgrade() {
                task.doom();
            }
        })
    }

    fn blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let (inner, life) = (self.inner.clone(), self.life.clone());
        Box::pin(async move {
            life.disk_cost_ns.store(0, Ordering::Relaxed);
            life.disk_slow.store(0, Ordering::Relaxed);
            *locked(&life.blocking) = Some(name);
            // What a dying process says while its disk is fenced off is no finding.
            let _ = last_panic();
            work();
            if let Some(text) = last_panic()
                && life.alive.load(Ordering::Relaxed)
            {
                let node = inner.node(life.node).name();
                inner.record(
                    life.node,
                    What::Panicked { node, text: format!("panic in blocking work {name}: {text}") },
                );
            }
            *locked(&life.blocking) = None;
            let cost = life.disk_cost_ns.swap(0, Ordering::Relaxed);
            let until = inner.charge_disk(life.node, cost);
            inner.trace_text("blocking", life.node, cost, name);
            let slow = life.disk_slow.swap(0, Ordering::Relaxed);
            Until { inner: inner.clone(), at_ns: until, ordered: None }.await;
            // One by one: what is left is fast again when the fault ends.
            for _ in 0..slow {
                let Some(until) = inner.charge_slow(life.node) else { break };
                Until { inner: inner.clone(), at_ns: until, ordered: None }.await;
            }
        })
    }
}

impl Inner {
    /// Starts a task, unless its process is dead.
    pub(super) fn spawn(
        &self,
        life: &Arc<Life>,
        name: &'static str,
        work: BoxFuture<'static, ()>,
    ) -> Option<Arc<Task>> {
        if !life.alive.load(Ordering::Relaxed) {
            return None;
        }
        let number = self.next_task.fetch_add(1, Ordering::Relaxed);
        let task = Task::new(&self.ready, number, name, life, Some(work));
        locked(&life.tasks).insert(number, task.clone());
        Waker::from(task.clone()).wake();
        Some(task)
    }
}

/// Done at a true time. Unlike a node's sleep it does not depend on the node's clock.
pub(super) struct Until {
    pub(super) inner: Arc<Inner>,
    pub(super) at_ns: u64,
    pub(super) ordered: Option<Waker>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.now_ns() >= self.at_ns {
            return Poll::Ready(());
        }
        // An event left behind by another waker wakes for nothing, once.
        if !self.ordered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.ordered = Some(cx.waker().clone());
            let node = super::executor::current_node();
            self.inner.at(self.at_ns, Due::Wake(node, cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl World {
    /// Sleeps for `span_us` of true time.
    pub async fn sleep_us(&self, span_us: u64) {
        let at_ns = self.0.now_ns() + span_us * 1_000;
        Until { inner: self.0.clone(), at_ns, ordered: None }.await;
    }
}
