// Name → backend; the only file that knows which backends are linked in.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

#include "ops/backend.h"

namespace precis {

class ThreadPool;

/// Makes a backend: "auto" (the fastest that this machine has), "cpu", "cuda" or "ref".
///
/// Errors    kInvalidArgument — unknown name, or PRECIS_FORCE_ISA names an instruction set that is
///           unknown or that this processor lacks; kUnsupported, kBudget — "cuda" without a GPU
///           that it runs on, or built without it
/// `threads` must outlive the backend; "ref" runs on the calling thread only.
Result<std::unique_ptr<Backend>> make_backend(std::string_view name, ThreadPool& threads);

/// The names besides "auto" that make_backend can make on this machine.
std::vector<std::string> backend_names();

/// A device other than the processor.
struct Accelerator {
  std::string id;    // "cuda:0"
  std::string name;  // as its driver calls it
  std::string isa;   // "compute 9.0"
  int n_multiprocessors = 0;
  std::int64_t total_bytes = 0;
  std::int64_t free_bytes = 0;
  bool supported = false;  // a backend of this program runs on it
};

/// The accelerators that this program can see.
///
/// Errors    kUnsupported — built without a backend for any, no driver, or no device: why
Result<std::vector<Accelerator>> list_accelerators();

}  // namespace precis
