// A device backend for tests that hold their arguments in host memory.
#pragma once

#include <memory>

#include "ops/backend.h"

namespace precis {

/// Wraps `inner` so that every view of a call may point to host memory: what an operation reads is
/// copied to the device before it and what it writes is copied back after it.  Weights stay on the
/// device.  Each argument gets an allocation of its own, so that a memory checker sees its ends.
std::unique_ptr<Backend> make_uploading_backend(std::unique_ptr<Backend> inner);

}  // namespace precis
