-- Rollback: 004_order_totals
-- Description: Removes the trigger, its function and the totals
-- Author: Jon Brandt
-- Date: 2025-03-17

DROP TRIGGER order_lines_total ON shop.order_lines;
DROP FUNCTION shop.update_order_total();
ALTER TABLE shop.orders DROP COLUMN total_cents;
