#pragma once
#include <string_view>

namespace tandem::testing {

/// Why an op does not have to pass a check, or empty. The only place where a check of the op suite
/// is switched off; every use is printed.
std::string_view excuse(std::string_view op, std::string_view check, int sample);

}  // namespace tandem::testing
