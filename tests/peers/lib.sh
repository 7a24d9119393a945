# SPDX-License-Identifier: Apache-2.0
# What tests/peers/run and the lab's cases share.
# shellcheck shell=bash disable=SC2154

# build_reference_server FILE: tests/peers/reference-server.c, static, so that it runs in the lab host too.
build_reference_server()
{
	local peers headers

	{ read -r peers; read -r headers; } < <("$top_dir/setup/setup" peers headers)
	gcc -std=gnu17 -O2 -g -Wall -Wextra -Werror -static -D_GNU_SOURCE -I"$top_dir" -I"$peers/include" -isystem "$headers" \
		-o "$1" "$top_dir/tests/peers/reference-server.c" "$top_dir"/devices/vfio/reference/*.c \
		"$peers/lib/libvfio-user.a" -ljson-c
}
