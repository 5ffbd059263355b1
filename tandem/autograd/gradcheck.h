#pragma once
#include "tandem/core/by_name.h"
#include "tandem/core/tensor.h"

namespace tandem {

struct GradcheckOptions {
  ByName by_name = ByName();
  double step = 1e-6;  ///< of the central difference
  double atol = 1e-5;  ///< an entry may differ by atol + rtol * |numerical|
  double rtol = 1e-3;
  bool second = false;  ///< also checks the gradient of the gradient
};

namespace detail {
/// A callable by reference: no allocation, no ownership.
class TensorFunction {
 public:
  template <class F>
  TensorFunction(const F& f)
      : object_(&f), call_([](const void* o, const Tensors& in) -> Tensor {
          return (*static_cast<const F*>(o))(in);
        }) {}
  Tensor operator()(const Tensors& in) const { return call_(object_, in); }

 private:
  const void* object_;
  Tensor (*call_)(const void*, const Tensors&);
};
TANDEM_API void run_gradcheck(TensorFunction f, const Tensors& inputs,
                              const GradcheckOptions& options);
}  // namespace detail

/// Compares the gradients of `f` (Tensors -> Tensor) at f64 inputs with central differences, for
/// every input that requires a gradient and a fixed random cotangent. Throws GradientError naming
/// input, entry and both values where they differ; NaN differs.
template <class F>
void gradcheck(const F& f, const Tensors& inputs, const GradcheckOptions& options = {}) {
  detail::run_gradcheck(f, inputs, options);
}

}  // namespace tandem
