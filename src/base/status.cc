#include "precis/status.h"

namespace precis {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid_argument";
    case ErrorCode::kNotFound: return "not_found";
    case ErrorCode::kCorrupt: return "corrupt";
    case ErrorCode::kUnsupported: return "unsupported";
    case ErrorCode::kBudget: return "budget";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kIo: return "io";
  }
  return "unknown";
}

}  // namespace precis
