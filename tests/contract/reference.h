/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SLUICE_TESTS_CONTRACT_REFERENCE_H
#define SLUICE_TESTS_CONTRACT_REFERENCE_H

#include "tests/contract/contract.h"

extern const struct driver reference_driver;

#endif
