// Name → backend; the only file that knows which backends are linked in.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

#include "ops/backend.h"

namespace precis {

class ThreadPool;

/// Makes a backend: "auto" (the fastest that this machine has), "cpu" or "ref".
///
/// Errors    kInvalidArgument — unknown name, or PRECIS_FORCE_ISA names an instruction set that is
///           unknown or that this processor lacks
/// `threads` must outlive the backend; "ref" runs on the calling thread only.
Result<std::unique_ptr<Backend>> make_backend(std::string_view name, ThreadPool& threads);

/// The names make_backend accepts besides "auto".
std::vector<std::string> backend_names();

}  // namespace precis
