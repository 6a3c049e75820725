//! Programs on system calls, attached one by one as rules need them.

use std::collections::HashMap;

use chaos_common::CallSet;

use super::{
    EngineError,
    kernel::Kernel,
    loader::{Code, Link, Place},
};
use crate::experiment::{Mechanism, Syscall};

/// What is attached for the system calls that rules are about.
#[derive(Debug)]
pub(super) struct Attached {
    code: Code,
    mechanism: Mechanism,
    /// By the name of the function, with how many rules need it.
    functions: HashMap<String, (Link, usize)>,
}

impl Attached {
    pub(super) fn none(code: Code, mechanism: Mechanism) -> Self {
        Self {
            code,
            mechanism,
            functions: HashMap::new(),
        }
    }

    /// Attaches what is not attached yet.
    ///
    /// # Errors
    /// The first call that can't be done, by name. What was attached before stays.
    pub(super) fn prepare(&mut self, calls: &CallSet) -> Result<(), EngineError> {
        for call in each(calls) {
            for function in self.functions_of(call)? {
                if !self.functions.contains_key(&function) {
                    let link = self.attach(&function)?;
                    self.functions.insert(function, (link, 0));
                }
            }
        }
        Ok(())
    }

    /// A rule needs these.
    pub(super) fn enter(&mut self, calls: &CallSet) -> Result<(), EngineError> {
        self.prepare(calls)?;
        self.count(calls, |uses| *uses += 1);
        Ok(())
    }

    /// It needs them no more.
    pub(super) fn leave(&mut self, calls: &CallSet) {
        self.count(calls, |uses| *uses = uses.saturating_sub(1));
        self.drop_unused();
    }

    pub(super) fn drop_unused(&mut self) {
        self.functions.retain(|_, (_, uses)| *uses > 0);
    }

    fn count(&mut self, calls: &CallSet, change: fn(&mut usize)) {
        for call in each(calls) {
            for function in self.functions_of(call).unwrap_or_default() {
                if let Some((_, uses)) = self.functions.get_mut(&function) {
                    change(uses);
                }
            }
        }
    }

    /// The functions that see a call, by this mechanism.
    fn functions_of(&self, call: Syscall) -> Result<Vec<String>, EngineError> {
        match self.mechanism {
            Mechanism::Lsm | Mechanism::FmodRet => {
                let hooks = call.security_hooks().map_err(EngineError::NoHook)?;
                let prefix = self.security_prefix();
                Ok(hooks.iter().map(|hook| format!("{prefix}{hook}")).collect())
            }
            Mechanism::KprobeOverride => Ok(vec![format!("__x64_sys_{}", call.entry())]),
            _ => {
                // Calls without arguments are aliases of what they do, and BTF has only that name.
                let entry = |prefix: &str| format!("{prefix}{}", call.entry());
                let known = Kernel::get()?.function(&entry("__x64_sys_")).is_some();
                Ok(vec![entry(if known { "__x64_sys_" } else { "__do_sys_" })])
            }
        }
    }

    fn security_prefix(&self) -> &'static str {
        if self.mechanism == Mechanism::Lsm {
            "bpf_lsm_"
        } else {
            "security_"
        }
    }

    fn attach(&self, function: &str) -> Result<Link, EngineError> {
        if self.mechanism == Mechanism::KprobeOverride {
            return self.code.attach("call_probe", Place::Kprobe(function));
        }
        let known = Kernel::get()?.function(function).ok_or_else(|| {
            EngineError::NoHook(format!("this kernel has no function {function}"))
        })?;
        let place = match self.mechanism {
            Mechanism::Lsm => Place::Lsm(function.trim_start_matches("bpf_lsm_")),
            _ => Place::FmodRet(function),
        };
        let program = match (
            function.trim_start_matches(self.security_prefix()),
            known.arguments,
        ) {
            ("file_open", 1) => "file_1",
            ("file_permission", 2) => "file_2",
            (_, 1) => "call_1",
            (_, 2) => "call_2",
            (_, 3) => "call_3",
            (_, 4) => "call_4",
            (_, 5) => "call_5",
            (_, arguments) => {
                return Err(EngineError::NoHook(format!(
                    "{function} takes {arguments} arguments, for which there is no program"
                )));
            }
        };
        self.code.attach(program, place)
    }
}

fn each(calls: &CallSet) -> impl Iterator<Item = Syscall> {
    Syscall::all().filter(|call| calls.contains(call.number().into()))
}
