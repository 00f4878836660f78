/* A program outside of the tree: static URI. */

#include <cstdio>
#include <slotkv.hpp>

int main(int count, char **arguments) {
    slotkv::Client client(count == 2 ? arguments[1] : "");
    (void)client.put("cmake", "static");
    std::puts(client.get("cmake").value() == "static" ? "ok" : "no");
    return 0;
}
