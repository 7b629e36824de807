//! A program with tasks whose memory can be walked: its tables are made once.

use std::path::Path;
use std::sync::Arc;

use tracer_common::walk::Root;
use tracer_user::address::{Address, LoadBias};
use tracer_user::dwarf::DebugInfo;
use tracer_user::object::{Binary, DebugSource};
use tracer_user::runtime::tokio::{Inspector, TokioConventions};
use tracer_user::walk::flat::{Compiler, Tables};
use tracer_user::walk::{Futures, NodeId};

/// The program of `seeds/tiny.rs`.
const TINY: &[u8] = include_bytes!("../corpus/elf/tiny");

/// Another program may be taken instead, such as a fixture: its path.
pub const INSTEAD: &str = "ASYNCTRACE_FUZZ_PROGRAM";

/// Futures that are taken as roots at most.
const ROOTS: usize = 64;

/// The program, read.
pub struct Program {
    /// Futures of its tasks.
    pub roots: Vec<NodeId>,
    /// The types behind.
    pub futures: &'static Futures<'static, 'static>,
    /// The same as integers. The vtable of root `n` is at address `n + 1`.
    pub tables: Arc<Tables>,
    /// Reads tasks, where the program has the structures.
    pub inspector: Option<Inspector<'static, 'static>>,
}

thread_local! {
    static PROGRAM: &'static Program = Box::leak(Box::new(Program::read()));
}

impl Program {
    /// The one of this thread; it lives as long as the process.
    pub fn get() -> &'static Self {
        PROGRAM.with(|program| *program)
    }

    fn read() -> Self {
        let path = std::env::var_os(INSTEAD);
        let binary = match &path {
            Some(path) => Binary::open(Path::new(path)),
            None => Binary::from_bytes(Path::new("tiny"), TINY.to_vec()),
        };
        let binary = Arc::new(binary.expect("a program"));
        let here = Path::new("/nowhere/tiny");
        let source =
            DebugSource::search(Arc::clone(&binary), here, &[], None).expect("no file is given");
        let source: &'static DebugSource = Box::leak(Box::new(source));
        let info = DebugInfo::load(source).expect("debug information");
        let info: &'static DebugInfo<'static> = Box::leak(Box::new(info));
        let futures: &'static Futures<'static, 'static> = Box::leak(Box::new(Futures::new(info)));
        let roots: Vec<NodeId> = info
            .cells()
            .filter_map(|cell| info.arguments(cell).first().map(|(_, future)| *future))
            .take(ROOTS)
            .map(|die| futures.root(die))
            .collect();
        assert!(!roots.is_empty(), "the program has no tasks");
        let conventions: &'static TokioConventions = &TokioConventions;
        let mut compiler = Compiler::new(futures, conventions);
        for (vtable, node) in (1..).zip(&roots) {
            let bytes = futures.node(*node).map_or(0, |node| node.size);
            let root = Root {
                node: compiler.node(*node),
                future: 64,
                bytes: u32::try_from(bytes).unwrap_or(0),
                stage: 56,
                stage_bytes: 4,
                running: 0,
            };
            compiler.root(Address(vtable), root);
        }
        compiler.vtables(LoadBias(0));
        Self {
            roots,
            futures,
            tables: Arc::new(compiler.finish()),
            inspector: Inspector::new(0, &binary, LoadBias(0), futures).ok(),
        }
    }
}
