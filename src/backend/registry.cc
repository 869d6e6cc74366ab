#include "backend/registry.h"

#include <fmt/format.h>

#include "backend/ref/backend.h"

namespace precis {

Result<std::unique_ptr<Backend>> make_backend(std::string_view name, ThreadPool& threads) {
  if (name == "ref") return make_ref_backend();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("backend {:?}: want auto, cpu or ref", name)};
}

std::vector<std::string> backend_names() {
  return {"ref"};
}

}  // namespace precis
