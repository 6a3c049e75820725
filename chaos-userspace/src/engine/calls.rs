//! Programs on system calls, and on what happens to files, attached one by one as rules need them.

use std::collections::{HashMap, HashSet};

use chaos_common::{CallSet, FileEvent};

use super::{
    Calls, EngineError, Object, file_hooks,
    kernel::Kernel,
    loader::{Code, Link, Place},
};
use crate::experiment::{Mechanism, Syscall};

/// What is attached for the system calls, or the events of files, that rules are about.
#[derive(Debug)]
pub(super) struct Attached {
    code: Code,
    object: Object,
    mechanism: Mechanism,
    /// By the name of the function, with how many rules need it.
    functions: HashMap<String, (Link, usize)>,
}

/// What rules may be about.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Call(Syscall),
    File(FileEvent),
}

impl Seen {
    /// Its number in a set.
    fn number(self) -> u32 {
        match self {
            Self::Call(call) => call.number(),
            Self::File(event) => event as u32,
        }
    }
}

impl Attached {
    pub(super) fn none(code: Code, object: Object, mechanism: Mechanism) -> Self {
        Self {
            code,
            object,
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
        for seen in self.each(&calls.all) {
            match self.prepare_one(seen) {
                Ok(()) => any = true,
                Err(error) if calls.named.contains(seen.number().into()) => return Err(error),
                Err(error) => {
                    tracing::debug!(?seen, %error, "left out");
                    first = first.or(Some(error));
                }
            }
        }
        match first {
            Some(error) if !any => Err(error),
            _ => Ok(()),
        }
    }

    fn prepare_one(&mut self, seen: Seen) -> Result<(), EngineError> {
        for function in self.functions_of(seen)? {
            if !self.functions.contains_key(&function) {
                let link = self.attach(&function)?;
                self.functions.insert(function, (link, 0));
            }
        }
        Ok(())
    }

    /// System calls that nothing is attached for.
    pub(super) fn missing(&self, calls: &Calls) -> Vec<Syscall> {
        let has_all = |seen: &Seen| {
            self.functions_of(*seen).is_ok_and(|functions| {
                functions
                    .iter()
                    .all(|function| self.functions.contains_key(function))
            })
        };
        self.each(&calls.all)
            .into_iter()
            .filter(|seen| !has_all(seen))
            .filter_map(|seen| match seen {
                Seen::Call(call) => Some(call),
                Seen::File(_) => None,
            })
            .collect()
    }

    /// The first function that these need and other programs are attached to as well.
    pub(super) fn shared(&self, calls: &Calls, others: &Self) -> Option<String> {
        // One function has both names where a call takes no arguments.
        fn entry(function: &str) -> &str {
            ["__x64_sys_", "__do_sys_"]
                .into_iter()
                .find_map(|prefix| function.strip_prefix(prefix))
                .unwrap_or(function)
        }
        self.each(&calls.all)
            .into_iter()
            .flat_map(|seen| self.functions_of(seen).unwrap_or_default())
            .find(|function| {
                let theirs = &mut others.functions.keys();
                theirs.any(|other| entry(other) == entry(function))
            })
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

    /// [`Link::missed`] of what these need.
    pub(super) fn missed(&self, calls: &Calls) -> u64 {
        let functions: HashSet<String> = self
            .each(&calls.all)
            .into_iter()
            .flat_map(|seen| self.functions_of(seen).unwrap_or_default())
            .collect();
        functions
            .iter()
            .filter_map(|function| self.functions.get(function))
            .map(|(link, _)| link.missed())
            .sum()
    }

    /// It needs them no more. They stay until [`Self::drop_unused`]: a self-test and the rule that it
    /// was made for need the same, and a verifier takes its time.
    pub(super) fn leave(&mut self, calls: &Calls) {
        self.count(&calls.all, |uses| *uses = uses.saturating_sub(1));
    }

    pub(super) fn drop_unused(&mut self) {
        self.functions.retain(|_, (_, uses)| *uses > 0);
    }

    fn count(&mut self, calls: &CallSet, change: fn(&mut usize)) {
        for seen in self.each(calls) {
            for function in self.functions_of(seen).unwrap_or_default() {
                if let Some((_, uses)) = self.functions.get_mut(&function) {
                    change(uses);
                }
            }
        }
    }

    /// What a set means to the programs that are attached here.
    fn each(&self, calls: &CallSet) -> Vec<Seen> {
        let all: Vec<Seen> = if self.object == Object::FileError {
            FileEvent::ALL.into_iter().map(Seen::File).collect()
        } else {
            Syscall::all().map(Seen::Call).collect()
        };
        all.into_iter()
            .filter(|seen| calls.contains(seen.number().into()))
            .collect()
    }

    /// The functions that see it, by this mechanism.
    fn functions_of(&self, seen: Seen) -> Result<Vec<String>, EngineError> {
        match seen {
            Seen::Call(call) => self.functions_of_call(call),
            Seen::File(event) => self.functions_of_event(event),
        }
    }

    fn functions_of_event(&self, event: FileEvent) -> Result<Vec<String>, EngineError> {
        let mut functions = Vec::new();
        for hook in file_hooks::of(event) {
            let function = format!("{}{}", self.security_prefix(), hook.name);
            if !hook.optional || Kernel::get()?.function(&function).is_some() {
                functions.push(function);
            }
        }
        Ok(functions)
    }

    fn functions_of_call(&self, call: Syscall) -> Result<Vec<String>, EngineError> {
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
        let program = self
            .program(
                function.trim_start_matches(self.security_prefix()),
                known.arguments,
            )
            .ok_or_else(|| {
                EngineError::NoHook(format!(
                    "{function} takes {} arguments, for which there is no program",
                    known.arguments
                ))
            })?;
        self.code.attach(program, place)
    }

    /// The program for a function with so many arguments.
    fn program(&self, function: &str, arguments: usize) -> Option<&'static str> {
        if self.object == Object::FileError {
            return file_hooks::named(function)
                .filter(|hook| hook.arguments == arguments)
                .map(|hook| hook.name);
        }
        Some(match (function, arguments) {
            ("file_open", 1) => "file_1",
            ("file_permission", 2) => "file_2",
            ("path_unlink" | "path_rmdir", 2) => "name_2",
            ("path_mkdir" | "path_symlink", 3) => "name_3",
            ("path_mknod", 4) => "name_4",
            ("path_truncate" | "path_chroot" | "inode_getattr", 1) => "path_1",
            ("path_chmod", 2) => "path_2",
            ("path_chown", 3) => "path_3",
            (_, 1) => "call_1",
            (_, 2) => "call_2",
            (_, 3) => "call_3",
            (_, 4) => "call_4",
            (_, 5) => "call_5",
            _ => return None,
        })
    }
}
