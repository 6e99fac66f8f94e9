package admin

import "context"

// inviteEnd ends an invitation.
type inviteEnd struct {
	ID  string `json:"id"`
	Why string `json:"why"`
}

// Invite is Inviting.Invite.
func (c *Client) Invite(ctx context.Context, o InviteOrder) (Invited, error) {
	return ask[Invited](ctx, c, "invite", o)
}

// Invitations is Inviting.Invitations.
func (c *Client) Invitations(ctx context.Context) ([]InvitationStatus, error) {
	return ask[[]InvitationStatus](ctx, c, "invitations", struct{}{})
}

// ConfirmInvitation is Inviting.ConfirmInvitation.
func (c *Client) ConfirmInvitation(ctx context.Context, o InviteConfirm) (InvitationStatus, error) {
	return ask[InvitationStatus](ctx, c, "confirm_invitation", o)
}

// EndInvitation is Inviting.EndInvitation.
func (c *Client) EndInvitation(ctx context.Context, id, why string) (InvitationStatus, error) {
	return ask[InvitationStatus](ctx, c, "end_invitation", inviteEnd{id, why})
}
