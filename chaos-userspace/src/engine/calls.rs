//! Programs on system calls, attached one by one as rules need them.

use std::collections::HashMap;

use chaos_common::CallSet;

use super::{
    Calls, EngineError,
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
    /// The first call that is named and can't be done, or the first of all when none can be done.
    /// What was attached before stays.
    pub(super) fn prepare(&mut self, calls: &Calls) -> Result<(), EngineError> {
        let mut first = None;
        let mut any = false;
        for call in each(&calls.all) {
            match self.prepare_one(call) {
                Ok(()) => any = true,
                Err(error) if calls.named.contains(call.number().into()) => return Err(error),
                Err(error) => {
                    tracing::debug!(%call, %error, "left out");
                    first = first.or(Some(error));
                }
            }
        }
        match first {
            Some(error) if !any => Err(error),
            _ => Ok(()),
        }
    }

    fn prepare_one(&mut self, call: Syscall) -> Result<(), EngineError> {
        for function in self.functions_of(call)? {
            if !self.functions.contains_key(&function) {
                let link = self.attach(&function)?;
                self.functions.insert(function, (link, 0));
            }
        }
        Ok(())
    }

    /// Those that nothing is attached for.
    pub(super) fn missing(&self, calls: &Calls) -> Vec<Syscall> {
        let has_all = |call: Syscall| {
            self.functions_of(call).is_ok_and(|functions| {
                functions
                    .iter()
                    .all(|function| self.functions.contains_key(function))
            })
        };
        each(&calls.all).filter(|call| !has_all(*call)).collect()
    }

    /// A rule needs these. What is left out is taken out: some calls come by the hooks of others, but
    /// not always.
    pub(super) fn enter(&mut self, calls: &mut Calls) -> Result<(), EngineError> {
        self.prepare(calls)?;
        for call in self.missing(calls) {
            calls.all.remove(call.number());
        }
        self.count(&calls.all, |uses| *uses += 1);
        Ok(())
    }

    /// It needs them no more.
    pub(super) fn leave(&mut self, calls: &Calls) {
        self.count(&calls.all, |uses| *uses = uses.saturating_sub(1));
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
