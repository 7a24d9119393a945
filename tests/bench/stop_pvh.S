/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel that stops at once: entered by the PVH note (32-bit, unpaged), says "@end" and halts for good. What a
 * VMM has done until then is its own and its firmware's.
 */
	.section .note.Xen, "a", @note
	.align 4
	.long 4, 4, 18		/* "Xen", 4 bytes, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start
start:	mov $0x3f8, %dx
	mov $text, %esi
1:	lodsb
	out %al, %dx
	cmp $'\n', %al
	jne 1b
	cli
2:	hlt
	jmp 2b
text:	.ascii "@end\n"
