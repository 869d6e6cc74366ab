// Errors in short.
#pragma once

#include <string>
#include <utility>

#include "precis/status.h"

namespace precis {

/// kInvalidArgument with this sentence.
inline Error invalid(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}

}  // namespace precis
