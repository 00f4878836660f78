/* A program outside of the tree: shared URI. */

#include <slotkv.h>
#include <stdio.h>

int main(int count, char **arguments) {
    slotkv_client_t client;
    slotkv_result_t result;
    if (count != 2 || slotkv_connect(SLOTKV_ABI_VERSION, arguments[1], NULL, &client, &result) != SLOTKV_CODE_OK) {
        return 1;
    }
    if (slotkv_put(client, slotkv_text("cmake"), slotkv_text("shared"), NULL, &result) != SLOTKV_CODE_OK) {
        return 1;
    }
    puts("ok");
    return slotkv_close(client, NULL) == SLOTKV_CODE_OK ? 0 : 1;
}
