# The page of code that a process with bent clocks gets: see stub.rs for what the constants are.
#
# Calls like the C library's come here by a jump from the first bytes of the vDSO's own functions. The
# real function is called (its first instructions lie in a trampoline, behind which it goes on in the
# vDSO), into a buffer on the stack, so that nobody sees a real reading for a moment. What it has read
# is compared with the deadline of each rule, and bent.
#
# Only registers that a function may clobber are used, and fewer than 100 bytes of stack.

    .pushsection .rodata.kchaos_clock_stub, "a", @progbits
    .balign 16
kchaos_clock_stub_start:

    # The header is written into the copy, see `Header`.
    .zero {slots}
slots:
    .org kchaos_clock_stub_start + {bases}

    # By clock id: which base it is counted in, see `Base`.
bases:
    .byte {realtime}, {monotonic}, {none}, {none}, {raw}, {realtime}, {monotonic}, {boottime}
    .byte {realtime}, {boottime}, {none}, {tai}, {none}, {none}, {none}, {none}

    # Adds to a sum, which stays at its end where it would run over.
    .macro SATURATE sum, value
    add \sum, \value
    jno 9f
    sar \sum, 63
    btc \sum, 63                     # the other sign's end
9:
    .endm

    # rsi: what was read, in nanoseconds. eax: its base. Leaves in rdi what is to be added.
    .macro BEND
    shl eax, 9
    lea r8, [rip + control]
    add r8, rax                     # the entries of this base
    mov r9, [rip + slots]
    xor edi, edi
    xor r10d, r10d                  # whether a rule has set the speed
20: test r9, r9
    jz 29f
    bsf rcx, r9
    lea rdx, [r9 - 1]
    and r9, rdx
    shl rcx, 6
    lea r11, [r8 + rcx]             # the entry of the next rule
    cmp rsi, [r11 + {until}]
    jge 20b
    mov rdx, rsi
    sub rdx, [r11 + {from}]
    jl 20b
    SATURATE rdi, [r11+{offset}]
    mov ecx, [r11 + {flags}]
    cmp dword ptr [r11 + {hit}], 0
    jne 21f
    mov dword ptr [r11 + {hit}], 1
21: test ecx, ecx
    jz 20b
    test ecx, {speeds}
    jz 22f
    test r10d, r10d
    jnz 20b
    mov r10d, 1
    mov rax, rdx
    imul qword ptr [r11 + {rate}]
    movsxd rcx, edx
    shrd rax, rdx, 32
    cmp rcx, rdx
    je 24f
    mov rax, rdx                    # too much: the end of its sign
    sar rax, 63
    not rax
    btc rax, 63
24: SATURATE rdi, rax
    jmp 20b
22: mov rax, rdx                    # steps: the first at once, then one each `every`
    xor edx, edx
    div qword ptr [r11 + {every}]
    inc rax
    cmp rax, [r11 + {times}]
    jbe 23f
    mov rax, [r11 + {times}]
23: imul rax, [r11 + {step}]
    jno 25f
    mov rax, [r11 + {step}]         # too much: the end of its sign
    sar rax, 63
    not rax
    btc rax, 63
25: SATURATE rdi, rax
    jmp 20b
29:
    .endm

    # rsi + rdi into seconds in rdx and nanoseconds in rcx; never before zero.
    .macro SPLIT
    xor eax, eax
    SATURATE rsi, rdi
    test rsi, rsi
    cmovs rsi, rax
    mov rax, rsi
    shr rax, 9
    movabs rcx, 0x44b82fa09b5a53    # 2^(9+64+11-9) / 10^9
    mul rcx
    shr rdx, 11
    imul rcx, rdx, 1000000000
    neg rcx
    add rcx, rsi
    .endm

    .balign 16
kchaos_clock_stub_clock_gettime:
    cmp edi, 11
    ja 1f
    mov eax, edi
    lea rcx, [rip + bases]
    movzx eax, byte ptr [rcx + rax]
    test al, al
    js 1f
    sub rsp, 40
    mov [rsp + 16], rsi
    mov [rsp + 24], rax
    mov rsi, rsp
    call trampoline_clock_gettime
    test eax, eax
    jnz 2f
    mov eax, [rsp + 24]
    mov rdi, [rsp]
    mov rcx, [rsp + 8]
    imul rsi, rdi, 1000000000
    add rsi, rcx
    # One rule alone, which adds something: the usual case, without a division.
    mov r9, [rip + slots]
    lea rdx, [r9 - 1]
    test r9, rdx
    jnz 4f
    bsf r9, r9
    jz 4f
    mov r11d, eax
    shl r11d, 9
    lea r8, [rip + control]
    add r11, r8
    shl r9d, 6
    add r11, r9
    cmp rsi, [r11 + {until}]
    jge 4f
    cmp rsi, [r11 + {from}]
    jl 4f
    cmp qword ptr [r11 + {hit}], 1  # hit, and no flags
    jne 4f
    add rcx, [r11 + {nanoseconds}]
    lea rdx, [rcx - 1000000000]
    xor r8d, r8d
    test rdx, rdx
    cmovns rcx, rdx
    setns r8b
    add rdi, [r11 + {seconds}]
    add rdi, r8
    js 4f
    mov rax, [rsp + 16]
    mov [rax], rdi
    mov [rax + 8], rcx
    xor eax, eax
    add rsp, 40
    ret
4:  BEND
    SPLIT
    mov rax, [rsp + 16]
    mov [rax], rdx
    mov [rax + 8], rcx
    xor eax, eax
2:  add rsp, 40
    ret
1:  jmp trampoline_clock_gettime

    .balign 16
kchaos_clock_stub_gettimeofday:
    test rdi, rdi
    jz 1f
    sub rsp, 40
    mov [rsp + 16], rdi
    mov rdi, rsp
    call trampoline_gettimeofday
    test eax, eax
    jnz 2f
    imul rsi, [rsp], 1000000000
    imul rax, [rsp + 8], 1000
    add rsi, rax
    mov eax, {realtime}
    BEND
    SPLIT
    mov ecx, ecx
    imul rcx, rcx, 0x10624dd3       # 2^38 / 1000
    shr rcx, 38
    mov rax, [rsp + 16]
    mov [rax], rdx
    mov [rax + 8], rcx
    xor eax, eax
2:  add rsp, 40
    ret
1:  jmp trampoline_gettimeofday

    # Seconds are too coarse to be bent: it reads the coarse clock, as the vDSO does.
    .balign 16
kchaos_clock_stub_time:
    sub rsp, 40
    mov [rsp + 16], rdi
    mov edi, 5
    mov rsi, rsp
    call trampoline_clock_gettime
    imul rsi, [rsp], 1000000000
    add rsi, [rsp + 8]
    mov eax, {realtime}
    BEND
    SPLIT
    mov rax, rdx
    mov rcx, [rsp + 16]
    test rcx, rcx
    jz 3f
    mov [rcx], rax
3:  add rsp, 40
    ret

    .org kchaos_clock_stub_start + {clock_gettime}, 0xcc
trampoline_clock_gettime:
    .org kchaos_clock_stub_start + {gettimeofday}, 0xcc
trampoline_gettimeofday:
    .org kchaos_clock_stub_start + {time}, 0xcc
trampoline_time:
    .org kchaos_clock_stub_start + 0x1000, 0xcc
control:                            # the page behind this one
kchaos_clock_stub_end:
    .popsection
