/* errno: what an ocall with propagate_errno brought from the host. The host chose it. */
#ifndef TEE_ERRNO_H
#define TEE_ERRNO_H

#ifdef __cplusplus
extern "C" {
#endif

int* tee_errno_location(void);
#define errno (*tee_errno_location())

#define EPERM 1
#define ENOENT 2
#define EINTR 4
#define EIO 5
#define EBADF 9
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EEXIST 17
#define ENOTDIR 20
#define EISDIR 21
#define EINVAL 22
#define ENOSPC 28
#define ERANGE 34
#define ENOSYS 38

#ifdef __cplusplus
}
#endif

#endif
