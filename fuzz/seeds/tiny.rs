//! The program of the ELF and walk seeds: a few futures in tasks, with tokio's names and the parts
//! of its structures that asynctrace reads, and nothing else, so that its debug information is small.
//!
//! `cargo xtask fuzz --seeds` compiles it as a crate named `tokio`.
#![no_std]
#![feature(thread_local)]
#![allow(dead_code, non_snake_case)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

struct None;
unsafe impl GlobalAlloc for None {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
#[global_allocator]
static ALLOCATOR: None = None;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

pub mod runtime {
    pub mod context {
        use alloc::sync::Arc;
        use core::cell::{Cell, RefCell};

        pub enum EnterRuntime {
            Entered { allow_block_in_place: bool },
            NotEntered,
        }
        pub struct HandleCell {
            pub handle: RefCell<Option<super::scheduler::Handle>>,
            pub depth: Cell<usize>,
        }
        pub struct Context {
            pub current: HandleCell,
            pub runtime: Cell<EnterRuntime>,
            pub current_task_id: Cell<Option<core::num::NonZeroU64>>,
        }
        pub struct Storage<T> {
            pub state: Cell<u8>,
            pub val: T,
        }
        unsafe impl<T> Sync for Storage<T> {}
        pub mod CONTEXT {
            use super::*;
            #[thread_local]
            pub static __RUST_STD_INTERNAL_VAL: Storage<Context> = Storage {
                state: Cell::new(0),
                val: Context {
                    current: HandleCell {
                        handle: RefCell::new(None),
                        depth: Cell::new(0),
                    },
                    runtime: Cell::new(EnterRuntime::NotEntered),
                    current_task_id: Cell::new(None),
                },
            };
        }
        pub fn keep(handle: Arc<super::scheduler::Inner>) -> usize {
            let context = &CONTEXT::__RUST_STD_INTERNAL_VAL;
            let handle = super::scheduler::Handle::MultiThread(handle);
            *context.val.current.handle.borrow_mut() = Some(handle);
            context.val.current.depth.get()
        }
    }
    pub mod scheduler {
        use alloc::sync::Arc;
        pub struct Inner {
            pub shared: Shared,
        }
        pub struct Shared {
            pub owned: super::task::list::OwnedTasks<Arc<Inner>>,
        }
        pub enum Handle {
            CurrentThread(Arc<Inner>),
            MultiThread(Arc<Inner>),
        }
    }
    pub mod task {
        pub mod list {
            use alloc::boxed::Box;
            use core::marker::PhantomData;
            use core::ptr::NonNull;
            pub struct LinkedList {
                pub head: Option<NonNull<super::core::Header>>,
                pub tail: Option<NonNull<super::core::Header>>,
            }
            pub struct OwnedTasks<S> {
                pub lists: Box<[LinkedList]>,
                pub count: usize,
                pub of: PhantomData<S>,
            }
        }
        pub mod core {
            use core::cell::UnsafeCell;
            use core::ptr::NonNull;
            use core::task::Waker;
            pub struct Vtable {
                pub poll: unsafe fn(NonNull<Header>),
                pub schedule: unsafe fn(NonNull<Header>),
                pub trailer_offset: usize,
                pub scheduler_offset: usize,
                pub id_offset: usize,
            }
            #[repr(C)]
            pub struct Header {
                pub state: usize,
                pub queue_next: Option<NonNull<Header>>,
                pub vtable: &'static Vtable,
                pub owner_id: u64,
            }
            pub enum Stage<T> {
                Running(T),
                Finished(u64),
                Consumed,
            }
            #[repr(C)]
            pub struct Core<T, S> {
                pub scheduler: S,
                pub task_id: u64,
                pub stage: UnsafeCell<Stage<T>>,
            }
            pub struct Pointers {
                pub prev: Option<NonNull<Header>>,
                pub next: Option<NonNull<Header>>,
            }
            pub struct Trailer {
                pub owned: Pointers,
                pub waker: UnsafeCell<Option<Waker>>,
            }
            #[repr(C)]
            pub struct Cell<T, S> {
                pub header: Header,
                pub core: Core<T, S>,
                pub trailer: Trailer,
            }
        }
        pub mod raw {
            use super::core::{Cell, Header, Stage, Vtable};
            use core::future::Future;
            use core::pin::Pin;
            use core::ptr::NonNull;
            use core::task::{Context, Waker};
            pub unsafe fn poll<T: Future<Output = u64>, S>(header: NonNull<Header>) {
                let cell = unsafe { header.cast::<Cell<T, S>>().as_mut() };
                let stage = cell.core.stage.get_mut();
                if let Stage::Running(future) = stage {
                    let mut context = Context::from_waker(Waker::noop());
                    let _ = unsafe { Pin::new_unchecked(future) }.poll(&mut context);
                }
            }
            unsafe fn schedule<S>(_: NonNull<Header>) {}
            pub fn vtable<T: Future<Output = u64>, S>() -> &'static Vtable {
                const {
                    &Vtable {
                        poll: poll::<T, S>,
                        schedule: schedule::<S>,
                        trailer_offset: core::mem::offset_of!(Cell<T, S>, trailer),
                        scheduler_offset: 32,
                        id_offset: 40,
                    }
                }
            }
        }
    }
}

pub mod time {
    pub struct Sleep {
        pub deadline: u64,
    }
    impl core::future::Future for Sleep {
        type Output = ();
        fn poll(
            self: core::pin::Pin<&mut Self>,
            _: &mut core::task::Context<'_>,
        ) -> core::task::Poll<()> {
            match self.deadline {
                0 => core::task::Poll::Ready(()),
                _ => core::task::Poll::Pending,
            }
        }
    }
}

struct Either {
    left: Option<Pin<Box<dyn Future<Output = u64>>>>,
    many: Vec<Pin<Box<dyn Future<Output = u64>>>>,
}

impl Future for Either {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        for future in &mut self.many {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(value);
            }
        }
        match &mut self.left {
            Some(future) => future.as_mut().poll(context),
            Option::None => Poll::Ready(1),
        }
    }
}

async fn inner(deadline: u64) -> u64 {
    time::Sleep { deadline }.await;
    deadline
}

async fn outer(deadline: u64) -> u64 {
    let first = inner(deadline).await;
    let either = Either {
        left: Some(Box::pin(inner(first))),
        many: Vec::new(),
    };
    either.await + inner(first).await
}

#[unsafe(no_mangle)]
pub extern "C" fn start(deadline: u64) -> usize {
    fn of<F: Future<Output = u64>>(_: F) -> usize {
        let vtable = runtime::task::raw::vtable::<F, alloc::sync::Arc<runtime::scheduler::Inner>>();
        core::ptr::from_ref(vtable) as usize
    }
    let boxed: Pin<Box<dyn Future<Output = u64>>> = Box::pin(outer(deadline));
    of(outer(deadline)) ^ of(inner(deadline)) ^ of(boxed)
}

#[unsafe(no_mangle)]
pub extern "C" fn enter(handle: *const runtime::scheduler::Inner) -> usize {
    runtime::context::keep(unsafe { alloc::sync::Arc::from_raw(handle) })
}
