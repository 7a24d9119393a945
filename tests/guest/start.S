/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start of the guests in C: the 64-bit entry with rsi = boot_params. After guest_setup() in ring 0,
 * guest_main(command line) runs in ring 3: there code runs natively also where ring 0 is emulated
 * instruction by instruction. The I/O permission bitmap of the task allows every port: the
 * paravirtual KVM heeds that, but not the I/O privilege level.
 */
	.text
	.code64
	.globl start
start:	mov $stack_0, %esp
	mov %rsi, %rbx
	call guest_setup
	mov $tables, %eax
	mov %rax, %cr3
	lgdt gdt_pointer
	lidt idt_pointer
	mov $0x40, %ax
	ltr %ax
	mov 0x228(%rbx), %edi		/* cmd_line_ptr */
	pushq $0x2b			/* ss */
	pushq $stack_3
	pushq $0x3202			/* rflags: IOPL 3, interrupts on */
	pushq $0x33			/* cs */
	pushq $ring_3
	iretq
ring_3:	call guest_main
	out %al, $0xf4
1:	pause
	jmp 1b

/* Interrupts: count the vector, end of interrupt, back. */
	.macro counter number
	.globl vector_\number
	.align 16
vector_\number:
	push %rax
	mov $interrupts + 4 * \number, %eax
	incl (%rax)
	mov $0xfee000b0, %eax
	movl $0, (%rax)
	pop %rax
	iretq
	.endm
	counter 0
	counter 1
	counter 2
	counter 3

/* An exception is what stop() makes, to halt for good; any other hands out status 99. */
	.globl do_exception
	.align 16
do_exception:
	mov $stopping, %eax
	cmpb $0, (%rax)
	jne 1f
	mov $99, %al
	out %al, $0xf4
1:	hlt
	jmp 1b

/* What a second processor does: real mode, at a page below 1 MiB. It reports itself, and stops. */
	.globl ap_code, ap_end
ap_code:
	.code16
	movb $0x5a, %cs:ap_flag - ap_code
1:	hlt
	jmp 1b
ap_flag:
	.byte 0
ap_end:
	.globl ap_flag
	.code64

	.bss
	.align 16
	.skip 4096
stack_0:
	.skip 16384
stack_3:
	.globl stack_0, stack_3
	.section .note.GNU-stack, "", @progbits
