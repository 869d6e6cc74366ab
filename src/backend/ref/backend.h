// The reference backend: plain loops and double sums, the executable meaning of every operation.
//
// It is written to be read and believed, and used by tests only: every other backend is judged
// against it (ops/*_test.cc).
#pragma once

#include <memory>

#include "ops/backend.h"

namespace precis {

/// Makes a reference backend; it runs on the calling thread.
///
/// Errors    none
std::unique_ptr<Backend> make_ref_backend();

}  // namespace precis
