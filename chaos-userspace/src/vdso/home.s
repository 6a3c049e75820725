# What a process runs when it makes a call for us: see home.rs. Flags stay as they are, no stack is used,
# and nobody has to be there to set registers behind it.

    .pushsection .rodata.kchaos_clock_home, "a", @progbits
    .balign 8
kchaos_clock_home_start:
    syscall
    # A tracer that lives stops it here, and has it make another call, or puts it back itself.
    mov eax, {sigprocmask}
    mov edi, {setmask}
    lea rsi, [rip + kchaos_clock_home_mask]
    mov edx, 0
    mov r10d, 8
    syscall
    # From here on signals come as ever, and find the stack as it was.
    mov rax, [rip + kchaos_clock_home_mask + {rax}]
    mov rcx, [rip + kchaos_clock_home_mask + {rcx}]
    mov rdx, [rip + kchaos_clock_home_mask + {rdx}]
    mov rsi, [rip + kchaos_clock_home_mask + {rsi}]
    mov rdi, [rip + kchaos_clock_home_mask + {rdi}]
    mov r8, [rip + kchaos_clock_home_mask + {r8}]
    mov r9, [rip + kchaos_clock_home_mask + {r9}]
    mov r10, [rip + kchaos_clock_home_mask + {r10}]
    mov r11, [rip + kchaos_clock_home_mask + {r11}]
    jmp qword ptr [rip + kchaos_clock_home_mask + {rip}]
    .org kchaos_clock_home_start + {code}, 0xcc
kchaos_clock_home_mask:
    .popsection
