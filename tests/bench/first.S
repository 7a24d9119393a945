/* SPDX-License-Identifier: Apache-2.0 */
/* The guest whose first byte is waited for: entered in long mode, it has nothing else to do. */
	.text
	.globl start
start:	mov $0x3f8, %dx
	mov $'!', %al
	out %al, %dx
1:	hlt
	jmp 1b
