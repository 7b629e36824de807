//! An ELF file with its debug information: everything that is read of it before and while a process
//! is looked at.

use std::path::Path;
use std::sync::Arc;

use tracer_user::address::{Address, LinkAddress, LoadBias};
use tracer_user::dwarf::{DebugInfo, Scopes};
use tracer_user::locate::Module;
use tracer_user::object::{Binary, DebugSource};
use tracer_user::plan::{
    Functions, Names, Request, Rules, make, task_polls, task_vtables, versions_of, waker_functions,
};
use tracer_user::runtime::tokio::{Inspector, ShapeInspector, TokioConventions};
use tracer_user::show::escape::escape;
use tracer_user::unwind::UnwindTables;
use tracer_user::walk::flat::Compiler;
use tracer_user::walk::{Futures, Leaf, Leaves, Limits, Step, Walker};

use crate::hostile_memory::HostileMemory;
use crate::outlets::assert_plain;

struct NoLeaves;

impl Leaves for NoLeaves {
    fn waits_for(
        &self,
        _: &Step<'_>,
        _: &dyn tracer_user::memory::Memory,
        _: bool,
    ) -> Option<Leaf> {
        None
    }
}

/// Cells, addresses and symbols that are looked at: what comes after is the same again.
const SOME: usize = 16;

/// Reads it.
pub fn run(bytes: &[u8]) {
    let path = Path::new("/nowhere/fuzzed");
    let Ok(binary) = Binary::from_bytes(path, bytes.to_vec()) else {
        return;
    };
    let binary = Arc::new(binary);
    for symbol in binary.symbols().take(SOME) {
        assert_plain(&escape(&symbol.demangled()));
        let _ = binary.file_offset(symbol.address);
        let _ = binary.bytes_at(symbol.address, 16);
    }
    let _ = (task_vtables(&binary), waker_functions(&binary));
    let _ = versions_of(&binary, "tokio");
    let none = Names::default();
    let _ = ShapeInspector::new(0, &binary, &binary, &none, LoadBias(0));
    let _ = UnwindTables::from_sections(binary.loaded_sections()).is_empty();
    let Ok(source) = DebugSource::search(Arc::clone(&binary), path, &[], None) else {
        return;
    };
    plan(&source);
    types(&source, bytes);
}

/// Which probes it would get.
fn plan(source: &DebugSource) {
    let module = Module {
        path: "/nowhere/fuzzed".to_owned(),
        file: "/nowhere/fuzzed".into(),
        bias: LoadBias(0),
        range: Address(0)..Address(1 << 32),
        is_executable_of_process: true,
    };
    let names = Names::default();
    let futures = ["*poll*".to_owned()];
    for exact_polls in [false, true] {
        let _ = make(Request {
            module: &module,
            source,
            names: &names,
            futures: if exact_polls { &futures } else { &[] },
            exact_polls,
            rules: Rules::of_release("5.15.0"),
        });
    }
    let functions = Functions::new(source.binary(), source.symbol_file());
    for symbol in source.symbol_file().symbols().take(SOME) {
        let _ = functions.code(symbol.address);
    }
}

/// What its futures look like, and a walk over memory by that: the file's own bytes.
fn types(source: &DebugSource, bytes: &[u8]) {
    let Ok(info) = DebugInfo::load(source) else {
        return;
    };
    let _ = (info.damaged_units(), info.split());
    let names = Names::from_debug_info(&info, &task_polls(source));
    let binary = source.binary();
    let _ = ShapeInspector::new(0, binary, source.symbol_file(), &names, LoadBias(0));
    let futures = Futures::new(&info);
    let memory = HostileMemory::new(bytes);
    let walker = Walker {
        futures: &futures,
        bias: LoadBias(0),
        leaves: &NoLeaves,
        limits: Limits {
            depth: 48,
            nodes: 200,
            elements: 20,
        },
    };
    let mut compiler = Compiler::new(&futures, &TokioConventions);
    for cell in info.cells().take(SOME) {
        for (_, die) in info.arguments(cell).into_iter().take(2) {
            assert_plain(&escape(&info.path(die)));
            let node = futures.root(die);
            compiler.node(node);
            let _ = walker.tree(node, Address(0x1000), &memory);
        }
    }
    compiler.vtables(LoadBias(0));
    let _ = compiler.finish();
    if let Ok(inspector) = Inspector::new(0, source.binary(), LoadBias(0), &futures) {
        let _ = inspector.tasks_at(
            &[Address(0x2000)],
            tracer_user::runtime::tokio::Scheduler::Unknown,
            &memory,
        );
    }
    let scopes = Scopes::new(info.units());
    for symbol in source.symbol_file().symbols().take(SOME) {
        let _ = scopes.at(symbol.address);
        let _ = scopes.at(LinkAddress(symbol.address.0 + 1));
    }
}
