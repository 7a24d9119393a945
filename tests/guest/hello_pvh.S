/* SPDX-License-Identifier: Apache-2.0 */
/* Entered by the PVH note: 32-bit, unpaged. Says so, checks what it was given, hands out status 42. */
	.section .note.Xen, "a", @note
	.align 4
	.long 4, 4, 18		/* "Xen", 4 bytes, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start
start:	mov $41, %al
	cmpl $0x336ec578, (%ebx)	/* hvm_start_info */
	jne 2f
	mov $0x3f8, %dx
	mov $text, %esi
1:	lodsb
	out %al, %dx
	cmp $'\n', %al
	jne 1b
	mov $42, %al
2:	out %al, $0xf4
3:	hlt
	jmp 3b
text:	.ascii "hello by PVH\n"
