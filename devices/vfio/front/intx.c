/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pin interrupt, without exits: the device's eventfd raises the line through an irqfd; at the
 * guest's end of interrupt KVM lowers it and signals the resample eventfd, which tells the device to
 * unmask itself, and so to fire again when its cause is still there.
 */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "devices/vfio/message.h"
#include "vmm/base/host.h"
#include "vmm/base/kvm.h"
#include "vmm/pci/host_bridge.h"

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int connect(struct vfio_function *vf, const char **step)
{
	struct front_intx *intx = &vf->irqs.intx;
	int32_t fd;
	int ret;

	intx->gsi = pci_intx_gsi(&vf->pci, vf->plan.pin);
	*step = "no eventfd";
	intx->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	intx->resample_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (intx->fd < 0 || intx->resample_fd < 0) {
		ret = -errno;
		goto close_fds;
	}
	/* KVM first: what fires or is acknowledged before the next step waits in an eventfd. */
	*step = "KVM has no resampling irqfd (is the interrupt controller split?)";
	ret = kvm_irqfd_add(vf->env.kvm, intx->fd, intx->gsi, intx->resample_fd);
	if (ret)
		goto close_fds;
	*step = "the device does not enable it";
	fd = intx->fd;
	ret = front_set_irqs(vf, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd);
	if (ret)
		goto remove_irqfd;
	*step = "the device does not unmask it by eventfd";
	fd = intx->resample_fd;
	ret = front_set_irqs(vf, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &fd);
	if (ret)
		goto disable;
	return 0;

disable:
	front_set_irqs(vf, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
remove_irqfd:
	kvm_irqfd_remove(vf->env.kvm, intx->fd, intx->gsi);
close_fds:
	close_fd(&intx->fd);
	close_fd(&intx->resample_fd);
	return ret < 0 ? ret : -EIO;
}

/*
 * Only when the guest uses the device: most drivers go on to MSI-X, and the line of a device that
 * nobody drives would only be set up to be torn down.
 */
void front_intx_on(struct vfio_function *vf)
{
	const uint16_t uses = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	uint16_t command = (uint16_t)pci_get(vf->pci.config, PCI_COMMAND, 2);
	struct front_intx *intx = &vf->irqs.intx;
	const char *step;
	int ret;

	if (intx->armed || intx->failed || !vf->plan.pin || atomic_load(&vf->gone))
		return;
	/* The disable bit of a line that is set up is the device's business: it gets the bit. */
	if (!(command & uses) || command & PCI_COMMAND_INTX_DISABLE)
		return;
	ret = connect(vf, &step);
	if (ret) {
		intx->failed = true;
		vfio_warn(vf->id, 0, "the pin interrupt will not reach the guest: %s: %s", step,
			  host_strerror(-ret));
		return;
	}
	intx->armed = true;
}

void front_intx_off(struct vfio_function *vf)
{
	struct front_intx *intx = &vf->irqs.intx;

	if (!intx->armed)
		return;
	front_set_irqs(vf, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
	kvm_irqfd_remove(vf->env.kvm, intx->fd, intx->gsi);
	close_fd(&intx->fd);
	close_fd(&intx->resample_fd);
	intx->armed = false;
}
